"""Job rows say what should be done; Celery only carries it out.

There is one row for each kind and key ("advance" of round 3, "reconcile"): asking again for what is
queued or running changes nothing, asking again for what is over queues the same row once more.
A message that was lost, and a run whose worker was killed, are found by `due` and sent again.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
import structlog

from atlas.errors import ServiceError
from atlas.store import lease as leases
from atlas.store.database import Database
from atlas.store.tables import Job, Lease
from atlas.types import utc_now
from services.pace import paced

RESEND_S = 30.0  # a message this old and not started is taken for lost
BACKOFF_S = 2.0
BACKOFF_MAX_S = 60.0
STOP_LOOK_EVERY_S = 1.0
MAX_LOST = 5  # runs that killed their worker before the job is given up

ACTIVE = ("queued", "running")
LOST = "lost"  # key in `progress`: how many runs ended with their worker

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Due:
    """A job whose message should be sent now."""

    id: str
    kind: str


def id_of(kind: str, key: str = "") -> str:
    """The id of the job of that kind and key."""
    return f"{kind}-{key}" if key else kind


def request(
    database: Database, kind: str, *, key: str = "", arguments: Mapping[str, Any] | None = None
) -> str:
    """Say that a job of this kind should be done; returns its id, the same for the same kind+key.

    A job that is queued or running stays as it is.
    """
    with database.session() as session:
        return request_in(session, kind, key=key, arguments=arguments)


def request_in(
    session: Session, kind: str, *, key: str = "", arguments: Mapping[str, Any] | None = None
) -> str:
    """`request` within a transaction that says more than that."""
    job_id = id_of(kind, key)
    values: dict[str, Any] = {
        "state": "queued",
        "arguments": dict(arguments or {}),
        "progress": {},
        "attempts": 0,
        "error": "",
        "created_at": utc_now(),
        "sent_at": None,
        "started_at": None,
        "finished_at": None,
        "stop_asked_at": None,
    }
    over = update(Job).where(Job.id == job_id, Job.state.not_in(ACTIVE)).values(**values)
    again = session.execute(over.returning(Job.id)).first()
    if again is None and session.get(Job, job_id) is None:
        try:
            with session.begin_nested():
                session.add(Job(id=job_id, kind=kind, key=key, **values))
        except IntegrityError:
            log.info("another process asked for the same job first", job=job_id)
    return job_id


def start(database: Database, job_id: str, *, holder: str) -> bool:
    """Go from queued to running and take the job's lease; True for exactly one caller."""
    with database.session() as session:
        queued = update(Job).where(Job.id == job_id, Job.state == "queued")
        started = session.execute(
            queued.values(
                state="running", attempts=Job.attempts + 1, started_at=utc_now(), error=""
            ).returning(Job.id)
        ).first()
        if started is None:
            return False
        # A queued job has no living holder: whoever had the lease has finished or was given up.
        session.execute(delete(Lease).where(Lease.name == lease_name(job_id)))
        return leases.take(session, lease_name(job_id), holder, leases.LEASE_S)


def lease_name(job_id: str) -> str:
    """The lease that a running job holds."""
    return leases.JOB + job_id


@contextmanager
def alive(database: Database, job_id: str, holder: str) -> Iterator[None]:
    """Keep the lease of a started job renewed for the block, then give it back."""
    name = lease_name(job_id)
    try:
        with leases.renewing(database, name, holder, leases.LEASE_S):
            yield
    finally:
        with database.session() as session:
            leases.drop(session, name, holder)


def finish(database: Database, job_id: str, result: Mapping[str, Any] | None = None) -> None:
    """The job is done; `result` (JSON-able) is kept in its progress."""
    values: dict[str, Any] = {"state": "done", "finished_at": utc_now(), "error": ""}
    if result is not None:
        values["progress"] = dict(result)
    _change(database, job_id, values)


def fail(database: Database, job_id: str, error: str) -> None:
    """The job cannot be done before somebody mends `error`."""
    _change(database, job_id, {"state": "failed", "finished_at": utc_now(), "error": error})


def stop(database: Database, job_id: str) -> str:
    """Ask a job to stop; returns its state: "stopped" where it had not begun.

    A running job sees it within a second and ends by itself; one that is over stays as it is.

    Raises:
        ServiceError: no such job.
    """
    with database.session() as session:
        job = session.get(Job, job_id)
        if job is None:
            known = ", ".join(session.scalars(select(Job.id).order_by(Job.id))) or "none yet"
            raise ServiceError(f"no job {job_id!r}; known: {known}")
        if job.state == "queued":
            job.state, job.finished_at = "stopped", utc_now()
        elif job.state == "running":
            job.stop_asked_at = utc_now()
        return job.state


def is_asked_to_stop(database: Database, job_id: str) -> bool:
    """Whether a running job should end."""
    asked = select(Job.stop_asked_at).where(Job.id == job_id)
    with database.reader() as session:
        return session.scalar(asked) is not None


def stop_look(database: Database, job_id: str) -> Callable[[], bool]:
    """Tells whether a running job should end, and looks once a second however often it is asked."""
    return paced(partial(is_asked_to_stop, database, job_id), STOP_LOOK_EVERY_S)


def arguments_of(database: Database, job_id: str) -> dict[str, Any]:
    """What a job was asked for with."""
    with database.reader() as session:
        return dict(session.get_one(Job, job_id).arguments)


def stopped(database: Database, job_id: str, said: str) -> None:
    """The job ended because it was asked to."""
    _change(database, job_id, {"state": "stopped", "finished_at": utc_now(), "error": said})


def postpone(database: Database, job_id: str, error: str) -> None:
    """The job should be tried again by itself, later each time; see `backoff_s`.

    One that was asked to stop is stopped instead.
    """
    if is_asked_to_stop(database, job_id):
        stopped(database, job_id, error)
        return
    _change(database, job_id, {"state": "queued", "sent_at": utc_now(), "error": error})


def progress(database: Database, job_id: str, done: Mapping[str, Any]) -> None:
    """Record how far a running job is (JSON-able); what was recorded before is forgotten."""
    with database.session() as session:
        job = session.get(Job, job_id)
        if job is not None and job.state == "running":
            lost = {LOST: job.progress[LOST]} if LOST in job.progress else {}
            job.progress = {**lost, **done}


def backoff_s(attempts: int) -> float:
    """Seconds before the next try of a job that ran `attempts` times: 2, 4, 8 … up to 60."""
    return float(min(BACKOFF_S * 2 ** min(attempts - 1, 10), BACKOFF_MAX_S))


def due(database: Database, *, now: datetime | None = None) -> list[Due]:
    """Repair what was lost and return the jobs whose message should be sent now.

    Running rows whose lease is gone become queued (failed after `MAX_LOST` such ends).
    """
    now = now or utc_now()
    with database.session() as session:
        _repair(session, now)
        queued = session.scalars(select(Job).where(Job.state == "queued").order_by(Job.created_at))
        return [Due(job.id, job.kind) for job in queued if _is_due(job, now)]


def sent(database: Database, job_id: str) -> None:
    """The broker took the job's message."""
    with database.session() as session:
        queued = update(Job).where(Job.id == job_id, Job.state == "queued")
        session.execute(queued.values(sent_at=utc_now()))


def _is_due(job: Job, now: datetime) -> bool:
    wait_s = backoff_s(job.attempts) if job.error else RESEND_S
    return job.sent_at is None or job.sent_at + timedelta(seconds=wait_s) <= now


def _repair(session: Session, now: datetime) -> None:
    held = leases.held(session)
    for job in session.scalars(select(Job).where(Job.state == "running")):
        if lease_name(job.id) in held:
            continue
        if job.stop_asked_at is not None:  # its worker ended before it could say so
            job.state, job.finished_at = "stopped", now
            continue
        lost = int(job.progress.get(LOST, 0)) + 1
        job.progress = {**job.progress, LOST: lost}
        job.sent_at = None
        if lost < MAX_LOST:
            job.state = "queued"
        else:
            job.state = "failed"
            job.finished_at = now
            job.error = (
                f"its worker ended {lost} times while doing it (out of memory?); "
                "the end of the project's run/worker*.log may say why"
            )
        log.warning("a worker ended in the middle of a job", job=job.id, times=lost)


def _change(database: Database, job_id: str, values: dict[str, Any]) -> None:
    with database.session() as session:
        session.execute(update(Job).where(Job.id == job_id, Job.state == "running").values(values))
