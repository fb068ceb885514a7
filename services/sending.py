"""Sends job messages. A message that does not get out is no loss: the tick sends it again."""

from celery import Celery
from kombu.exceptions import OperationalError
import structlog

from atlas.project import Project
from services import jobs
from services.celery_config import QUEUE, QUEUE_OF, build_app

log = structlog.get_logger(__name__)

TASK_PREFIX = "atlas."
TICK = TASK_PREFIX + "tick"


def send(app: Celery, project: Project, due: jobs.Due) -> bool:
    """Send one job's message; False where the broker does not answer."""
    try:
        queue = QUEUE_OF.get(due.kind, QUEUE)
        app.send_task(TASK_PREFIX + due.kind, args=(due.id,), queue=queue)
    except OperationalError as error:
        log.warning("the broker does not answer; the tick will try again", error=str(error))
        return False
    jobs.sent(project.database, due.id)
    return True


def send_tick(project: Project) -> None:
    """Look around now instead of at the next beat."""
    try:
        build_app(project).send_task(TICK)
    except OperationalError as error:
        log.warning("the broker does not answer; the clock will try again", error=str(error))


def request_and_send(project: Project, kind: str, *, key: str = "") -> str:
    """Write the job's row first, then send its message; returns the job's id."""
    job_id = jobs.request(project.database, kind, key=key)
    send(build_app(project), project, jobs.Due(job_id, kind))
    return job_id
