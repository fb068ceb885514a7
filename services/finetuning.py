"""A fine-tune with a row among the jobs, by a worker or at a terminal."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
import time
from typing import Any

import structlog
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from atlas.errors import AtlasError, BusyError, Stopped
from atlas.progress import Tell
from atlas.project import Project
from atlas.store import lease as leases
from atlas.store.database import Database
from atlas.store.tables import Job, Lease
from services import jobs, steps
from services.pace import paced

KIND = "finetune"
TELL_EVERY_S = 0.5
LOOK_AGAIN_S = 0.5  # whether one that was killed has lost its leases
DEAD_S = leases.LEASE_S + 1
NOT_BEGUN = "fine-tuning was stopped before it began"
BY = {"by": "atlas finetune", "reason": "at a terminal"}

log = structlog.get_logger(__name__)


def carry_out(owner: Project, job_id: str) -> dict[str, Any]:
    """Fine-tune for a running job: how far it is goes into its row, which may ask it to stop."""
    told = _into_row(owner.database, job_id)
    stage = ""

    def progress(at: Mapping[str, Any]) -> None:
        nonlocal stage
        told(at)
        if at["stage"] != stage:
            stage = at["stage"]
            log.info("fine-tuning", stage=stage, job=job_id)

    return steps.finetune(
        owner, progress=progress, should_stop=jobs.stop_look(owner.database, job_id)
    )


def at_terminal(
    owner: Project, *, anew: bool, tell: Tell, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    """Fine-tune in this process, with the row that a queued one would have.

    So `atlas status`, the web API and the dashboard show it and may stop it. Where this process is
    killed, a worker goes on, or the next call does.

    Args:
        owner: whose backbone.
        anew: forget an unfinished fine-tune first.
        tell: told what the row is told, at every step.
        should_stop: asked at every step, beside the row.

    Raises:
        BusyError: one runs already.
        AtlasError: see `atlas.finetune.finetune`.
    """
    database, holder = owner.database, leases.new_holder()
    _begin(database, holder, tell, should_stop)
    told = _into_row(database, KIND)

    def progress(at: Mapping[str, Any]) -> None:
        told(at)
        tell(at)

    with jobs.alive(database, KIND, holder):
        try:
            result = _when_free(owner, anew, progress, _asked(database, should_stop))
        except Stopped as error:
            jobs.stopped(database, KIND, str(error))
            raise
        except AtlasError as error:
            jobs.fail(database, KIND, str(error))
            raise
        except Exception as error:
            jobs.fail(database, KIND, f"{type(error).__name__}: {error}")
            raise
        jobs.finish(database, KIND, result)
    with database.reader() as session:  # as JSON has it: a NaN is none
        return dict(session.get_one(Job, KIND).progress)


def _when_free(
    owner: Project, anew: bool, progress: Tell, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    """Run it as soon as the lease of one that was killed has run out."""

    @retry(
        retry=retry_if_exception_type(BusyError),
        wait=wait_fixed(LOOK_AGAIN_S),
        stop=stop_after_delay(DEAD_S),
        reraise=True,
    )
    def run() -> dict[str, Any]:
        if should_stop():
            raise Stopped(NOT_BEGUN)
        if anew:
            from atlas.finetune import begin_anew

            begin_anew(owner)
        return steps.finetune(owner, progress=progress, should_stop=should_stop)

    return run()


def _begin(database: Database, holder: str, tell: Tell, should_stop: Callable[[], bool]) -> None:
    """Make the row ours, or wait and see whether whoever has it still lives.

    Raises:
        BusyError: it does: it has renewed its lease.
        Stopped: `should_stop` said so.
    """
    until_s = time.monotonic() + DEAD_S
    seen = None
    while True:
        jobs.request(database, KIND, arguments=BY)
        if jobs.start(database, KIND, holder=holder):
            return
        with database.reader() as session:
            held = session.get(Lease, jobs.lease_name(KIND))
        seen = seen or held
        renewed = held is not None and seen is not None and held.expires_at > seen.expires_at
        if renewed or time.monotonic() > until_s:
            raise BusyError(
                "a fine-tune of this project is running; `atlas status` shows how far it is and "
                "`atlas stop` ends it"
            )
        if should_stop():
            raise Stopped(NOT_BEGUN)
        tell({"stage": "waiting"})
        time.sleep(LOOK_AGAIN_S)
        jobs.due(database)  # queues again what has lost its lease


def _into_row(database: Database, job_id: str) -> Tell:
    """Tells the row at most twice a second, but a new stage at once."""
    by_stage: defaultdict[str, Tell] = defaultdict(
        lambda: paced(partial(jobs.progress, database, job_id), TELL_EVERY_S)
    )

    def tell(at: Mapping[str, Any]) -> None:
        by_stage[at["stage"]](at)

    return tell


def _asked(database: Database, at_terminal: Callable[[], bool]) -> Callable[[], bool]:
    """Whether the terminal or the row wants it stopped; what the terminal wants, the row says."""
    in_row = jobs.stop_look(database, KIND)
    noted = paced(partial(jobs.stop, database, KIND), DEAD_S)

    def should_stop() -> bool:
        if not at_terminal():
            return in_row()
        noted()  # were this process killed now, no worker would go on
        return True

    return should_stop
