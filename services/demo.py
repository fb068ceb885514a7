"""`atlas demo`: the whole loop on a drawn pool, with an automatic annotator, nothing mocked."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
from threading import Event
import time
from typing import Any

from sqlalchemy import select

import atlas.demo
from atlas.demo.pools import POOLS, draw_pool, pool_taxonomy
from atlas.errors import BackboneError, PoolError, ProjectError, ServiceError
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings import (
    AuditSettings,
    BackboneSettings,
    PoolSettings,
    RoundSettings,
    ServiceSettings,
    Settings,
)
from atlas.status import status
from atlas.store.tables import Image, Job
from services import label_studio
from services.annotator import Answer, annotate_queue
from services.supervisor import Supervisor, refuse_if_running

MARKER = ".made-by-atlas-demo"
BACKBONE = Path(atlas.demo.__file__).parent / "backbone.json"
LOOK_EVERY_S = 0.2
STUCK_S = 180.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """What the demo does. All audit images go out in round 1, so that every round is measured."""

    pool: str = "garments"
    rounds: int = 6
    images: int = 1500
    audit: int = 150
    batch: int = 20
    seed: int = 0

    def settings(self, images: Path) -> Settings:
        """The project's settings.

        Raises:
            BackboneError: the demo's backbone is not there.
        """
        return Settings(
            name=f"{self.pool} demo",
            seed=self.seed,
            pool=PoolSettings(images=str(images), truth="manifest"),
            backbone=demo_backbone(),
            audit=AuditSettings(size=self.audit, per_round=self.audit),
            round=RoundSettings(batch_size=self.batch),
            service=ServiceSettings(tick_s=2.0),
        )


def demo_backbone() -> BackboneSettings:
    """The small backbone that ships with Atlas.

    Raises:
        BackboneError: it is not there.
    """
    weights = BACKBONE.with_suffix(".safetensors")
    if not (BACKBONE.is_file() and weights.is_file()):
        raise BackboneError(f"no demo backbone at {weights}; make it with `atlas pretrain-demo`")
    facts = json.loads(BACKBONE.read_text(encoding="utf-8"))
    return BackboneSettings(
        name=facts["arch"], checkpoint=str(weights), image_size=facts["image_size"]
    )


def clear_folder(directory: Path) -> None:
    """Remove what an earlier demo left, and only that.

    Raises:
        ProjectError: the folder holds something else.
        ServiceError: Atlas is running on it.
    """
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / MARKER).is_file():
        raise ProjectError(
            f"{directory} was not made by `atlas demo` and is left alone; "
            "name another folder with --dir"
        )
    refuse_if_running(directory)
    shutil.rmtree(directory)


def prepare_folder(directory: Path, plan: Plan) -> Settings:
    """Check that the demo can be made and make its empty folder; returns the project's settings.

    Raises:
        PoolError: an unknown pool.
        ProjectError: the folder holds something else.
        ServiceError: Atlas is running on it.
        BackboneError: the demo's backbone is not there.
    """
    if plan.pool not in POOLS:
        raise PoolError(f"unknown pool {plan.pool!r}; known: {', '.join(POOLS)}")
    settings = plan.settings(directory.resolve() / "pool" / "manifest.jsonl")
    clear_folder(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARKER).touch()
    return settings


def make_demo_project(directory: Path, plan: Plan, settings: Settings) -> Project:
    """Make the project, still without pictures, in a prepared folder."""
    return Project.create(directory, settings, pool_taxonomy(plan.pool, plan.seed))


def draw_demo_pool(supervisor: Supervisor, plan: Plan, *, drawing: Progress) -> None:
    """Draw the project's pictures, while its parts come up.

    Raises:
        DiskFull: no room for them.
        ServiceError: a part keeps dying.
    """

    def drawn(done: int, total: int) -> None:
        supervisor.watch()
        drawing(done, total)

    folder = supervisor.project.directory / "pool"
    draw_pool(plan.pool, folder, images=plan.images, seed=plan.seed, progress=drawn)


def ingest_pool(project: Project, *, progress: Progress) -> None:
    """Add the drawn pictures with the truth that the automatic annotator answers from."""
    ingest(project, Path(project.settings.pool.images), truth="manifest", progress=progress)


@contextmanager
def answering(supervisor: Supervisor, ls_project: int) -> Iterator[Future[int]]:
    """Run the automatic annotator beside the block; its future tells of its errors."""
    project, url = supervisor.project, supervisor.label_studio_url
    stop = Event()

    def annotate() -> int:
        login = label_studio.ensure_annotator(project, url)
        return annotate_queue(url, login.token, ls_project, answer_of(project), stop=stop)

    with ThreadPoolExecutor(1, thread_name_prefix="annotator") as thread:
        try:
            yield thread.submit(annotate)
        finally:
            stop.set()


def answer_of(project: Project) -> Answer:
    """What an annotator who knows the truth says about a task."""
    numbers = project.taxonomy.quantities
    with project.database.reader() as session:
        truth = {row.id: row.truth for row in session.execute(select(Image.id, Image.truth))}

    def answer(task: dict[str, Any]) -> dict[str, str | float]:
        known = truth[task["image_id"]]
        return {name: float(one) if name in numbers else one for name, one in known.items()}

    return answer


def wait_for_rounds(
    supervisor: Supervisor,
    annotator: Future[int],
    *,
    rounds: int,
    on_round: Callable[[dict[str, Any]], None],
) -> None:
    """Wait until that many rounds are closed and the queue after them is there.

    Args:
        supervisor: kept watched meanwhile.
        annotator: its errors are raised.
        rounds: how many.
        on_round: called with each closed round, in order.

    Raises:
        ServiceError: a job failed, or nothing moves any more.
    """
    told = 0
    moved_s, before = time.monotonic(), ""
    while True:
        supervisor.watch()
        if annotator.done():
            annotator.result()
        facts = status(supervisor.project)
        closed = [one for one in facts["rounds"] if one["state"] == "closed"]
        for one in closed[told:rounds]:
            on_round(one)
        told = min(len(closed), rounds)
        if _is_over(closed, rounds, facts["open_round"]):
            return
        _raise_failed(supervisor.project)
        state = json.dumps([facts["waiting"], facts["jobs"], len(closed)], default=str)
        if state != before:
            moved_s, before = time.monotonic(), state
        if time.monotonic() - moved_s > STUCK_S:
            raise ServiceError(
                f"nothing has moved for {STUCK_S:.0f} s after {len(closed)} rounds; "
                f"look into {supervisor.project.run}/*.log"
            )
        time.sleep(LOOK_EVERY_S)


def wait_for_embedding(supervisor: Supervisor, progress: Progress) -> None:
    """Follow the embed job to its end.

    Raises:
        ServiceError: it failed.
    """
    while True:
        supervisor.watch()
        _raise_failed(supervisor.project)
        with supervisor.project.database.reader() as session:
            job = session.get_one(Job, "embed")
            state, done = job.state, dict(job.progress)
        if "total" in done:
            progress(done["done"], done["total"])
        if state == "done":
            return
        time.sleep(LOOK_EVERY_S)


def _is_over(closed: Sequence[dict[str, Any]], rounds: int, open_round: int | None) -> bool:
    if len(closed) < rounds:
        return False
    return closed[rounds - 1]["label_to_queue_s"] is not None or open_round is None


def _raise_failed(project: Project) -> None:
    with project.database.reader() as session:
        failed = session.scalars(select(Job).where(Job.state == "failed")).first()
    if failed is not None:
        raise ServiceError(f"{failed.kind} failed: {failed.error}")
