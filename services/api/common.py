"""What several routes share."""

from typing import Annotated

from fastapi import HTTPException, Path, Request

from atlas.project import Project
from atlas.store.tables import ModelRow

NAME = r"^[A-Za-z0-9_.-]+$"

JobId = Annotated[str, Path(pattern=NAME, max_length=64, description="Such as finetune.")]
ModelId = Annotated[str, Path(pattern=NAME, max_length=32, description="Such as m0003.")]


def project_of(request: Request) -> Project:
    """The project this application serves."""
    project: Project = request.app.state.project
    return project


def check_model(project: Project, model_id: str) -> None:
    """Answer 404 where there is no such model."""
    with project.database.reader() as session:
        if session.get(ModelRow, model_id) is None:
            raise HTTPException(404, f"no model {model_id!r}; see /api/v1/models")
