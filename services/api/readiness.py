"""Whether everything that Atlas needs answers, each part by its name; open to everybody.

It says which part is missing and no more: no address, no error text.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Lock
from typing import Any, Literal

from celery import Celery
from fastapi import APIRouter, Request, Response
import httpx
from sqlalchemy import text

from atlas.analysis.stored import count_images
from atlas.errors import AtlasError
from atlas.oracle._connection import connection
from atlas.project import Project
from atlas.store.tables import Job
from atlas.types import utc_now
from services import embedded
from services.api import answers
from services.celery_config import GPU_QUEUE
from services.finetuning import KIND as FINETUNE
from services.jobs import ACTIVE, backoff_s
from services.pulse import LAST_BEAT, is_working, late_s, seconds_since_tick

DEADLINE_S = 3.0

router = APIRouter()


class Part(answers.Answer):
    """One thing that Atlas needs."""

    ok: bool
    said: str


class Readiness(answers.Answer):
    """`ready` where every part is."""

    status: Literal["ready", "not ready"]
    parts: dict[str, Part]


NOT_READY: answers.Responses = {503: {"model": Readiness, "description": "Some part is missing"}}


class Readying:
    """Asks every part at once, and waits for none of them for long.

    A part that hangs keeps its one thread until it answers; it is not asked again meanwhile.

    Args:
        project: whose parts.
        celery: its broker.
    """

    def __init__(self, project: Project, celery: Celery) -> None:
        self._checks: dict[str, Callable[[], Part]] = {
            "database": lambda: _database(project),
            "broker": lambda: _broker(celery),
            "label_studio": lambda: _label_studio(project),
            "worker": lambda: _worker(project),
            "schedule": lambda: _schedule(project),
            "gpu": lambda: _gpu(project),
            "bottlenecks": lambda: _bottlenecks(project),
        }
        self._threads = ThreadPoolExecutor(len(self._checks), "ready")
        self._asked: dict[str, Future[Part]] = {}
        self._lock = Lock()

    def ask(self) -> dict[str, Part]:
        """What each part says; at most `DEADLINE_S`."""
        with self._lock:
            for name, check in self._checks.items():
                if name not in self._asked or self._asked[name].done():
                    self._asked[name] = self._threads.submit(check)
            asked = dict(self._asked)
        wait(asked.values(), DEADLINE_S)
        return {name: _said(one) for name, one in asked.items()}

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@router.get("/readyz", response_model=Readiness, responses=NOT_READY)
def readyz(request: Request, response: Response) -> dict[str, Any]:
    """Whether the database, the broker, Label Studio, a worker and the bottlenecks are there.

    And whether the clock ticks, and no fine-tune waits that nobody takes.

    503 while one is not. `/healthz` says whether this process lives: restart it on that alone.
    """
    readying: Readying = request.app.state.readying
    parts = readying.ask()
    ready = all(one.ok for one in parts.values())
    response.status_code = 200 if ready else 503
    return {"status": "ready" if ready else "not ready", "parts": parts}


def _said(asked: Future[Part]) -> Part:
    if not asked.done():
        return Part(ok=False, said=f"no answer within {DEADLINE_S:.0f} s")
    error = asked.exception()
    return asked.result() if error is None else Part(ok=False, said="does not answer")


def _database(project: Project) -> Part:
    with project.database.reader() as session:
        session.execute(text("SELECT 1"))
    return Part(ok=True, said="answers")


def _broker(celery: Celery) -> Part:
    with celery.connection_for_write() as there:
        there.ensure_connection(max_retries=1, interval_start=0, timeout=DEADLINE_S)
    return Part(ok=True, said="answers")


def _label_studio(project: Project) -> Part:
    with suppress(AtlasError):
        url = connection(project).url.rstrip("/")
        answer = httpx.get(f"{url}/health", timeout=DEADLINE_S, trust_env=False)
        ok = answer.status_code == httpx.codes.OK
        return Part(ok=ok, said="answers" if ok else f"answers {answer.status_code}")
    return Part(ok=False, said="is not set up")


def _worker(project: Project) -> Part:
    with project.database.reader() as session:
        since_s, working = seconds_since_tick(session), is_working(session)
    if working:
        return Part(ok=True, said="works on a job")
    if since_s is None:
        return Part(ok=False, said="no worker has looked around yet")
    said = f"looked around {since_s:.0f} s ago"
    return Part(ok=since_s <= late_s(project), said=said)


def _schedule(project: Project) -> Part:
    """A worker in the middle of a job hears no clock, so that one may have stopped meanwhile."""
    with project.database.reader() as session:
        since_s, working = seconds_since_tick(session, LAST_BEAT), is_working(session)
    if since_s is None:
        said, ok = "no worker has heard the clock yet", False
    else:
        said, ok = f"ticked {since_s:.0f} s ago", since_s <= late_s(project)
    if ok or not working:
        return Part(ok=ok, said=said)
    return Part(ok=True, said=f"{said}; a worker works on a job")


def _gpu(project: Project) -> Part:
    """Nobody tells who takes fine-tunes; one that nobody takes shows it."""
    with project.database.reader() as session:
        job, working = session.get(Job, FINETUNE), is_working(session)
    if job is None or job.state not in ACTIVE:
        return Part(ok=True, said="nothing waits for it")
    if job.state == "running":
        return Part(ok=True, said="works on a fine-tune")
    since_s = (utc_now() - (job.started_at or job.created_at)).total_seconds()
    said = f"a fine-tune waits for {since_s:.0f} s"
    again_s = backoff_s(job.attempts) if job.error else 0.0  # a try broke off, the next comes
    if working or since_s <= late_s(project) + again_s:
        return Part(ok=True, said=said)
    return Part(ok=False, said=f"{said}; does a worker take {GPU_QUEUE}?")


def _bottlenecks(project: Project) -> Part:
    """Ready once all were embedded: while some more are, everything else goes on."""
    with project.database.reader() as session:
        images, job = count_images(session), session.get(Job, "embed")
        known = embedded.count(session, project)
    if known == images:
        return Part(ok=True, said=f"all {images} images")
    # of a job that is over it counts what `known` does, perhaps by another backbone
    done = 0 if job is None or job.state == "done" else job.progress.get("done", 0)
    failed = job is not None and job.state == "failed"
    return Part(ok=known > 0 and not failed, said=f"{max(done, known)} of {images} images")
