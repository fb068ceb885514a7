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
JOB = lease_name("")
TICK_LATE_S = 60.0


def record_tick(project: Project) -> None:
    """A tick is being carried out."""
    with project.database.session() as session:
        session.merge(Meta(key=LAST_TICK, value=utc_now().isoformat()))


def seconds_since_tick(session: Session) -> float | None:
    """None before the first."""
    row = session.get(Meta, LAST_TICK)
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
