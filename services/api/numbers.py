"""The numbers people ask for."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from sqlalchemy import func, select

from atlas.project import Project
from atlas.promotion import current_id
from atlas.status import measured, models, queue, rounds, status
from atlas.store.tables import AccuracyRow
from services.api import answers
from services.api.common import NAME, check_model, project_of
from services.api.csv_answers import accuracy_csv, wants_csv

reading = APIRouter(prefix="/api/v1", responses=answers.WRONG)

AS_CSV: answers.Responses = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@reading.get("/status", response_model=answers.Status)
def get_status(request: Request) -> dict[str, Any]:
    """Everything at a glance: images, labels, the open round, the model, jobs."""
    return status(project_of(request))


@reading.get(
    "/accuracy",
    response_model=dict[str, answers.ModelAccuracy | answers.ModelMeanError],
    responses={**answers.NOT_THERE, **AS_CSV},
)
def get_accuracy(
    request: Request,
    level: Annotated[str | None, Query(description="Only this level.")] = None,
    model: Annotated[
        str | None, Query(pattern=NAME, max_length=32, description="Else the one that answers.")
    ] = None,
) -> Any:
    """How good a model is on the audit set, with a 95% interval, at one level or all.

    Accuracy for levels and attributes, mean absolute error for quantities. `Accept: text/csv` gives
    the same as a table.
    """
    project = project_of(request)
    if model is not None:
        check_model(project, model)
    found = _measured(project, model)
    if level is not None:
        if level not in found:
            raise HTTPException(404, f"no level {level!r}; known: {', '.join(found)}")
        found = {level: found[level]}
    if wants_csv(request.headers.get("accept", "")):
        return Response(accuracy_csv(found), media_type="text/csv", headers={"Vary": "Accept"})
    return found


@reading.get("/rounds", response_model=list[answers.Round])
def get_rounds(request: Request) -> list[dict[str, Any]]:
    """Every round, the first first."""
    return rounds(project_of(request))


@reading.get("/queue", response_model=list[answers.Query])
def get_queue(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[dict[str, Any]]:
    """The queries that wait for an answer, in the order they are asked."""
    return queue(project_of(request), limit=limit)


@reading.get("/models", response_model=list[answers.Model])
def get_models(request: Request) -> list[dict[str, Any]]:
    """Every registered model, the newest first."""
    return models(project_of(request))


def _measured(project: Project, model: str | None) -> dict[str, dict[str, Any]]:
    """Level → how good the model is there, which model that is, and when it was measured."""
    with project.database.reader() as session:
        model_id = model or current_id(session)
        latest = select(func.max(AccuracyRow.measured_at)).where(AccuracyRow.model_id == model_id)
        measured_at: datetime | None = session.scalar(latest)
    said = {"model": model_id, "measured_at": measured_at}
    return {task: {**one, **said} for task, one in measured(project, model_id).items()}
