"""The numbers people ask for, as JSON."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request

from atlas.project import Project
from atlas.status import measured, rounds, status

router = APIRouter()


def project_of(request: Request) -> Project:
    """The project this application serves."""
    project: Project = request.app.state.project
    return project


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Whether this process answers."""
    return {"status": "ok"}


@router.get("/api/v1/status")
def get_status(request: Request) -> dict[str, Any]:
    """Everything at a glance: images, labels, the open round, the model, jobs."""
    return status(project_of(request))


@router.get("/api/v1/accuracy")
def get_accuracy(request: Request, level: str | None = None) -> dict[str, Any]:
    """How good the current model is on the audit set, with a 95% interval, at one level or all.

    Accuracy for levels and attributes, mean absolute error for quantities.
    """
    levels = measured(project_of(request))
    if level is None:
        return levels
    if level not in levels:
        raise HTTPException(404, f"no level {level!r}; known: {', '.join(levels)}")
    return {level: levels[level]}


@router.get("/api/v1/rounds")
def get_rounds(request: Request) -> list[dict[str, Any]]:
    """Every round, the first first."""
    return rounds(project_of(request))
