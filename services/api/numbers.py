"""The numbers people ask for."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from atlas.status import models, queue, rounds, status
from services.api import answers
from services.api.common import project_of
from services.signed_links import signed_path

reading = APIRouter(prefix="/api/v1", responses=answers.WRONG)


@reading.get("/status", response_model=answers.Status)
def get_status(request: Request) -> dict[str, Any]:
    """Everything at a glance: images, labels, the open round, the model, jobs."""
    return status(project_of(request))


@reading.get("/rounds", response_model=list[answers.Round])
def get_rounds(request: Request) -> list[dict[str, Any]]:
    """Every round, the first first."""
    return rounds(project_of(request))


@reading.get("/queue", response_model=list[answers.Query])
def get_queue(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[dict[str, Any]]:
    """The queries that wait for an answer, in the order they are asked.

    `picture` is a link to a small picture; it needs no token and holds for an hour or two.
    """
    project = project_of(request)
    return [
        {**one, "picture": signed_path(project, one["image"])}
        for one in queue(project, limit=limit)
    ]


@reading.get("/models", response_model=list[answers.Model])
def get_models(request: Request) -> list[dict[str, Any]]:
    """Every registered model, the newest first."""
    return models(project_of(request))
