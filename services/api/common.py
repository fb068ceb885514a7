"""What several routes share."""

from typing import Annotated

from fastapi import HTTPException, Path, Request

from atlas.project import Project
from atlas.store.tables import Job, ModelRow

NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"  # "." and ".." would be another path

ImageId = Annotated[str, Path(pattern=NAME, max_length=32, description="Such as img_07f3….")]
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


def job_of(project: Project, job_id: str) -> Job:
    """A job's row as it is now; answers 404 where there is none."""
    with project.database.reader() as session:
        job = session.get(Job, job_id)
    if job is None:
        raise HTTPException(404, f"no job {job_id!r}; see /api/v1/jobs")
    return job
