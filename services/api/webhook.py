"""Where Label Studio says that somebody answered.

Label Studio waits one second and never repeats, so this records, asks for a job and returns; what
gets lost here is found by reconciling.
"""

from collections.abc import Sequence
import hmac
from typing import Annotated, Any

from celery import Celery
from fastapi import APIRouter, BackgroundTasks, Body, Header, HTTPException, Request
import structlog

from atlas import labels
from atlas.errors import TaxonomyError
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.types import Annotation
from services import jobs, steps
from services.addresses import WEBHOOK_PATH, WEBHOOK_SECRET
from services.api import answers
from services.sending import send

router = APIRouter(responses=answers.WRONG)
FORBIDDEN: answers.Responses = {403: {"model": answers.Refused, "description": "Wrong secret"}}
log = structlog.get_logger(__name__)


@router.post(WEBHOOK_PATH, response_model=answers.Received, responses=FORBIDDEN)
def receive(
    request: Request,
    later: BackgroundTasks,
    payload: Annotated[dict[str, Any], Body()],
    x_atlas_secret: Annotated[str, Header()] = "",
) -> dict[str, Any]:
    """Record the annotations of one call; ask for the next round if they complete this one."""
    project: Project = request.app.state.project
    expected = project.secret(WEBHOOK_SECRET)
    if not hmac.compare_digest(x_atlas_secret.encode(), expected.encode()):
        raise HTTPException(403, "wrong X-Atlas-Secret; run `atlas up` again to set the webhook up")
    annotations = LabelStudioOracle(project).parse_webhook(payload)
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
