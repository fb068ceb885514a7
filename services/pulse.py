"""When the clock last came round: a tick that a worker carried out says that both live.

No worker answers questions, and one in the middle of a training has no time for the tick. So a
project's parts count as alive while ticks come or a job's lease is renewed.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from atlas.project import Project
from atlas.store import lease as leases
from atlas.store.tables import Meta
from atlas.types import utc_now
from services.jobs import lease_name

LAST_TICK = "last_tick"  # key in Meta
LAST_BEAT = "last_beat"  # the same, of a tick that the clock asked for
JOB = lease_name("")
TICK_LATE_S = 60.0


def record_tick(project: Project, *, by_clock: bool = False) -> None:
    """A tick is being carried out; `by_clock`: not one that a worker adds after a job."""
    now = utc_now().isoformat()
    with project.database.session() as session:
        for key in (LAST_TICK, LAST_BEAT) if by_clock else (LAST_TICK,):
            session.merge(Meta(key=key, value=now))


def seconds_since_tick(session: Session, key: str = LAST_TICK) -> float | None:
    """None before the first; with `LAST_BEAT` of those that the clock asked for."""
    row = session.get(Meta, key)
    return None if row is None else (utc_now() - datetime.fromisoformat(row.value)).total_seconds()


def is_working(session: Session) -> bool:
    """Whether some worker is in the middle of a job."""
    return any(name.startswith(JOB) for name in leases.held(session))


def late_s(project: Project) -> float:
    """A clock that is silent for longer has stopped."""
    return max(TICK_LATE_S, 3 * project.settings.service.tick_s)


def is_alive(session: Session, project: Project) -> bool:
    """Whether some worker would take a job now, or soon."""
    since_s = seconds_since_tick(session)
    return is_working(session) or (since_s is not None and since_s <= late_s(project))
