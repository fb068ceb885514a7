"""What several routes share."""

from collections.abc import Mapping
from typing import Annotated, Any

from celery import Celery
from fastapi import BackgroundTasks, HTTPException, Path, Request

from atlas.project import Project
from atlas.store.tables import Job, ModelRow
from services import jobs
from services.sending import send

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


def request_once(project: Project, kind: str, wanted: Mapping[str, Any], *, by: str) -> Job:
    """Ask for a job; where one waits or runs that was asked for otherwise, answer 409.

    Args:
        project: whose.
        kind: of the job.
        wanted: its arguments, as far as somebody said them.
        by: who asks; the same wish of another is the same job.
    """
    job_id = jobs.request(project.database, kind, arguments={**wanted, "by": by})
    job = job_of(project, job_id)
    for name, value in wanted.items():
        taken = job.arguments.get(name)
        if taken != value:
            known = f"no {name}" if taken is None else f"{name} {taken!r}"
            raise HTTPException(
                409,
                f"the job {job_id} is {job.state} already, with {known}; let it end, or stop it, "
                "and ask again",
            )
    return job


def send_later(request: Request, later: BackgroundTasks, job: Job) -> None:
    """Send a job's message after the answer."""
    celery: Celery = request.app.state.celery
    later.add_task(send, celery, project_of(request), jobs.Due(job.id, job.kind))
