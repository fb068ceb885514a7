"""Where Label Studio says that somebody answered.

Label Studio waits one second and never repeats, so this records, asks for a job and returns; what
gets lost here is found by reconciling.
"""

from collections.abc import Sequence
import hmac
from typing import Annotated, Any

from celery import Celery
from fastapi import APIRouter, BackgroundTasks, Header, HTTPException, Request
from pydantic import BaseModel, model_validator
from starlette.concurrency import run_in_threadpool
import structlog

from atlas import labels
from atlas.errors import TaxonomyError
from atlas.oracle._answers import GIVEN, GONE
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.types import Annotation
from services import jobs, steps
from services.addresses import WEBHOOK_PATH, WEBHOOK_SECRET
from services.api import answers
from services.api.access import first
from services.api.common import project_of
from services.sending import send

FORBIDDEN: answers.Responses = {403: {"model": answers.Refused, "description": "Wrong secret"}}
HEADER = "X-Atlas-Secret"
log = structlog.get_logger(__name__)


class Deleted(BaseModel):
    """An annotation that is gone."""

    id: int


class Task(BaseModel):
    """What was answered."""

    data: dict[str, Any] | None = None


class Call(BaseModel):
    """What Label Studio says that somebody did; what else it sends is not looked at."""

    action: str = ""
    annotations: list[Deleted] | None = None
    annotation: dict[str, Any] | None = None
    task: Task | None = None

    @model_validator(mode="before")
    @classmethod
    def pass_over(cls, said: Any) -> Any:
        """Of other events only that they came: their parts have other shapes."""
        is_other = isinstance(said, dict) and said.get("action") not in (*GIVEN, GONE)
        return {} if is_other else said


async def _knows_the_secret(request: Request) -> None:
    expected = await run_in_threadpool(project_of(request).secret, WEBHOOK_SECRET)
    if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), expected.encode()):
        raise HTTPException(403, f"wrong {HEADER}; run `atlas up` again to set the webhook up")


router = APIRouter(responses=answers.WRONG, route_class=first(_knows_the_secret))


@router.post(WEBHOOK_PATH, response_model=answers.Received, responses=FORBIDDEN)
def receive(
    request: Request,
    later: BackgroundTasks,
    call: Call,
    _secret: Annotated[str, Header(alias=HEADER)] = "",  # published; `_knows_the_secret` asks it
) -> dict[str, Any]:
    """Record the annotations of one call; ask for the next round if they complete this one."""
    project = project_of(request)
    annotations = LabelStudioOracle(project).parse_webhook(call.model_dump())
    new, due = _record(project, annotations)
    if due is not None:
        celery: Celery = request.app.state.celery
        later.add_task(send, celery, project, due)
    return {"new": new, "job": due.id if due is not None else None}


def _record(project: Project, annotations: Sequence[Annotation]) -> tuple[int, jobs.Due | None]:
    """How many annotations were new, and the job that they ask for."""
    new = 0
    with project.database.session() as session:
        for annotation in annotations:
            try:
                new += labels.record(
                    session,
                    [annotation],
                    received_by="webhook",
                    taxonomy=project.taxonomy,
                    consensus=project.settings.label_studio.consensus,
                )
            except TaxonomyError as error:
                log.warning("annotation left out", id=annotation.external_id, error=str(error))
        wanted = steps.after_labels(session, project) if new else None
    if wanted is None:
        return new, None
    kind, key = wanted
    return new, jobs.Due(jobs.request(project.database, kind, key=key), kind)
