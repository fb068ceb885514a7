"""The Celery tasks: each takes a job's id, loads, makes one atlas call and saves.

Run twice, a task does its work once.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from multiprocessing import current_process
import os
from pathlib import Path
import time
from typing import Any

from celery import Celery, current_app, shared_task
from celery.signals import (
    beat_init,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutting_down,
)
import structlog
from structlog.contextvars import bound_contextvars

from atlas.errors import AtlasError, BusyError, OracleUnreachable, Stopped
from atlas.project import Project
from atlas.store import lease as leases
from services import finetuning, jobs, steps
from services.ending import end_soon
from services.pace import paced
from services.pulse import record_tick
from services.reminders import keeping as reminders
from services.retraining import keeping as schedules
from services.run_files import write_state
from services.sending import TASK_PREFIX, send

MENDS_ITSELF = (OracleUnreachable, BusyError)
PROGRESS_EVERY_S = 0.5

log = structlog.get_logger(__name__)


def import_what_training_needs(**_: Any) -> None:
    """Import torch once, before the worker forks: its children share the memory."""
    steps.preload()


def let_it_have_children(**_: Any) -> None:
    """Let a process of the worker start those that decode a fine-tune's images.

    Celery marks its processes as daemons, and Python gives those no children.
    """
    current_process().daemon = False


def say_worker_is_ready(**_: Any) -> None:
    """Tell whoever started this worker that it takes jobs now."""
    write_state(project(), "worker")
    log.info("the worker takes jobs")


def say_schedule_is_ready(**_: Any) -> None:
    """Tell whoever started the beat that it ticks now."""
    write_state(project(), "schedule")
    log.info("the schedule ticks", every_s=project().settings.service.tick_s)


@cache
def project() -> Project:
    """The project in `ATLAS_PROJECT`, opened once in each worker process."""
    return Project(Path(os.environ["ATLAS_PROJECT"]))


def embed(job_id: str) -> None:
    """Fill the bottleneck cache."""

    def step(owner: Project) -> Mapping[str, Any]:
        def report(done: int, total: int) -> None:
            jobs.progress(owner.database, job_id, {"done": done, "total": total})

        return steps.embed(
            owner,
            progress=paced(report, PROGRESS_EVERY_S),
            should_stop=jobs.stop_look(owner.database, job_id),
        )

    carry_out(project(), job_id, step)
    tick()  # what waited for the bottlenecks need not wait for the clock


def advance(job_id: str) -> None:
    """Close the open round if it is complete, open the next one and push it."""
    carry_out(project(), job_id, steps.advance)


def push(job_id: str) -> None:
    """Push the queries that the oracle does not have yet."""
    carry_out(project(), job_id, steps.push)


def rescore(job_id: str) -> None:
    """Order the waiting queries by what is known now."""
    carry_out(project(), job_id, steps.rescore)
    tick()  # labels that came meanwhile want it once more


def remind(job_id: str) -> None:
    """Tell people that images wait."""
    number = int(job_id.removeprefix(f"{reminders.KIND}-"))
    carry_out(project(), job_id, partial(steps.remind, number=number))


def query(job_id: str) -> None:
    """Open the round that somebody asked for."""

    def step(owner: Project) -> Mapping[str, Any]:
        return steps.query(owner, jobs.arguments_of(owner.database, job_id))

    carry_out(project(), job_id, step)
    tick()  # the annotators should have it now


def reconcile(job_id: str) -> None:
    """Ask the oracle for every annotation that a webhook may have lost."""
    carry_out(project(), job_id, steps.reconcile)
    tick()  # the answers that were found may have completed the round


def analyse(job_id: str) -> None:
    """Store what the pages about the model and the pool show."""
    carry_out(project(), job_id, steps.analyse)


def measure(job_id: str) -> None:
    """Bring the accuracy up to the audit labels of now."""
    carry_out(project(), job_id, steps.measure)


def train(job_id: str) -> None:
    """Refit the heads on every label so far."""
    carry_out(project(), job_id, steps.train)
    tick()  # the waiting queries should show what the new model says


def finetune(job_id: str) -> None:
    """Fine-tune the backbone, and let it answer where it is better."""
    carry_out(project(), job_id, partial(finetuning.carry_out, job_id=job_id))
    tick()  # as after `train`


def tick(*, by_clock: bool = False) -> None:
    """Ask for what should be done by now and send what was never sent or was lost.

    Args:
        by_clock: the beat asked for it.
    """
    look_around(current_app, project(), by_clock=by_clock)


def look_around(app: Celery, owner: Project, *, by_clock: bool = False) -> None:
    """What `tick` does; the rest waits where the broker does not answer."""
    record_tick(owner, by_clock=by_clock)
    parts: tuple[Callable[[Project], object], ...] = (
        _ask_for_wanted,
        schedules.carry_out,
        reminders.carry_out,
    )
    for part in parts:
        try:
            part(owner)
        except Exception:  # no part may keep back the others, nor the jobs that are due
            log.exception("a part of the tick failed", part=part.__module__)
    for one in jobs.due(owner.database):
        if not send(app, owner, one):
            return


def _ask_for_wanted(owner: Project) -> None:
    for kind, key in steps.wanted(owner):
        jobs.request(owner.database, kind, key=key)


def carry_out(owner: Project, job_id: str, step: Callable[[Project], Mapping[str, Any]]) -> None:
    """Run `step` for a queued job and record what became of it; nothing where it is not queued."""
    holder = leases.new_holder()
    if not jobs.start(owner.database, job_id, holder=holder):
        log.info("nothing to do: the job is running or over", job=job_id)
        return
    started = time.monotonic()
    with jobs.alive(owner.database, job_id, holder), bound_contextvars(job=job_id):
        try:
            result = step(owner)
        except Stopped as error:
            jobs.stopped(owner.database, job_id, str(error))
            log.info("job stopped", job=job_id)
        except SystemExit:  # its worker was asked to end, which is no fault of the job's
            jobs.postpone(owner.database, job_id, "its worker was stopped; another goes on")
            raise
        except MENDS_ITSELF as error:
            jobs.postpone(owner.database, job_id, str(error))
            log.warning("job postponed", job=job_id, error=str(error))
        except AtlasError as error:
            log.error("job failed", job=job_id, error=str(error))
            jobs.fail(owner.database, job_id, str(error))
        except Exception as error:
            log.exception("job failed", job=job_id)
            where = "the traceback is in the project's run/worker*.log"
            jobs.fail(owner.database, job_id, f"{type(error).__name__}: {error}; {where}")
        else:
            jobs.finish(owner.database, job_id, result)
            seconds = round(time.monotonic() - started, 3)
            log.info("job done", job=job_id, seconds=seconds, result=dict(result))


for _kind, _task in {
    "embed": embed,
    "advance": advance,
    "push": push,
    "query": query,
    "rescore": rescore,
    "remind": remind,
    "reconcile": reconcile,
    "measure": measure,
    "analyse": analyse,
    "train": train,
    "finetune": finetune,
    "tick": tick,
}.items():
    shared_task(_task, name=TASK_PREFIX + _kind)
worker_init.connect(import_what_training_needs)
worker_process_init.connect(let_it_have_children)
worker_ready.connect(say_worker_is_ready)
worker_shutting_down.connect(end_soon)
beat_init.connect(say_schedule_is_ready)
