"""Leases: who may do something that must not be done twice at once.

A lease is a row with an end. Its holder renews it; when the holder dies it runs out by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
import os
import socket
from threading import Event, Thread
import time
from uuid import uuid4

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session
import structlog

from atlas.errors import BusyError
from atlas.store.database import Database
from atlas.store.tables import Lease
from atlas.types import utc_now

PROJECT = "project"
"""The lease under which models are registered and rounds are closed and opened."""
FINETUNE = "finetune"
"""The lease under which one fine-tune of a project runs at a time."""
JOB = "job:"
"""What the lease of a running job begins with; its id follows."""
LEASE_S = 15.0
LOOK_EVERY_S = 0.05

log = structlog.get_logger(__name__)


def new_holder() -> str:
    """A name no other process or thread has, which still says where it runs."""
    return f"{socket.gethostname()[:24]}:{os.getpid()}:{uuid4().hex[:8]}"


def take(session: Session, name: str, holder: str, seconds: float) -> bool:
    """Take or renew the lease `name`; False where another holder has it."""
    now = utc_now()
    mine_or_over = or_(Lease.holder == holder, Lease.expires_at <= now)
    end = now + timedelta(seconds=seconds)
    taken = session.execute(
        update(Lease)
        .where(and_(Lease.name == name, mine_or_over))
        .values(holder=holder, expires_at=end)
        .returning(Lease.name)
    ).first()
    if taken is not None:
        return True
    try:
        with session.begin_nested():
            session.add(Lease(name=name, holder=holder, expires_at=end))
            session.flush()
    except IntegrityError:
        return False
    return True


def drop(session: Session, name: str, holder: str) -> None:
    """Give the lease back, if it is still ours."""
    session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))


def held(session: Session) -> set[str]:
    """Names of the leases that have not run out."""
    return set(session.scalars(select(Lease.name).where(Lease.expires_at > utc_now())))


@contextmanager
def lease(
    database: Database,
    name: str,
    holder: str,
    seconds: float = LEASE_S,
    *,
    patience_s: float = 0.0,
) -> Iterator[Event]:
    """Hold the lease `name` for the block, renewing it from a thread.

    Args:
        database: of the project.
        name: of the lease.
        holder: see `new_holder`.
        seconds: after which it runs out should this process die.
        patience_s: how long another holder is waited for.

    Yields:
        An event that is set should the lease be lost (the machine slept past its end).

    Raises:
        BusyError: another holder has it, and keeps it for longer.
    """
    _wait_and_take(database, name, holder, seconds, patience_s)
    try:
        with renewing(database, name, holder, seconds) as lost:
            yield lost
    finally:
        with database.session() as session:
            drop(session, name, holder)


def _wait_and_take(
    database: Database, name: str, holder: str, seconds: float, patience_s: float
) -> None:
    until_s = time.monotonic() + patience_s
    while True:
        with database.session() as session:
            if take(session, name, holder, seconds):
                return
            other = session.get(Lease, name)
        if time.monotonic() >= until_s:
            raise BusyError(
                f"{other.holder if other else 'another process'} holds the lease {name!r} of this "
                "project (a training is running); wait for it to finish"
            )
        time.sleep(LOOK_EVERY_S)


@contextmanager
def renewing(database: Database, name: str, holder: str, seconds: float) -> Iterator[Event]:
    """Renew a lease that is already held, three times a period, until the block ends.

    A database that is away for a moment (it restarts) costs nothing while the lease still runs.
    """
    over, lost = Event(), Event()

    def renew() -> None:
        end_s = time.monotonic() + seconds
        while not over.wait(seconds / 3):
            begun_s = time.monotonic()
            try:
                with database.session() as session:
                    kept = take(session, name, holder, seconds)
            except OperationalError as error:
                log.warning("lease not renewed, trying again", name=name, error=str(error.orig))
                kept = begun_s < end_s
            else:
                end_s = begun_s + seconds
            if not kept:
                log.error("lease lost", name=name, holder=holder)
                lost.set()
                return

    thread = Thread(target=renew, name=f"lease-{name}", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()
