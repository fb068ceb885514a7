"""Jobs and what starts them: train again, promote, roll back.

Nothing is done here: a job's row is written, its message sent, and a worker does it.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Query, Request, Security
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from atlas.store.tables import Job
from atlas.switching import switch, switch_back
from services import jobs
from services.api import answers
from services.api.access import Engineer, engineer
from services.api.common import (
    JobId,
    ModelId,
    check_model,
    job_of,
    project_of,
    request_once,
    send_later,
)
from services.retraining.facts import JOB_OF

reading = APIRouter(prefix="/api/v1", responses=answers.WRONG)
changing = APIRouter(
    prefix="/api/v1",
    responses={**answers.WRONG, **answers.NO_TOKEN},
    dependencies=[Security(engineer)],
)


class Retrain(BaseModel):
    """What to train again, and why."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["heads", "finetune"]
    reason: str = Field(default="", max_length=200)


@reading.get("/jobs", response_model=list[answers.Job])
def get_jobs(
    request: Request,
    state: answers.JobState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[Job]:
    """The latest jobs, the newest first; with `state` only those."""
    wanted = select(Job).order_by(Job.created_at.desc(), Job.id).limit(limit)
    if state is not None:
        wanted = wanted.where(Job.state == state)
    with project_of(request).database.reader() as session:
        return list(session.scalars(wanted))


@reading.get("/jobs/{job_id}", response_model=answers.Job, responses=answers.NOT_THERE)
def get_job(request: Request, job_id: JobId) -> Job:
    """One job: how far it is, or what became of it."""
    return job_of(project_of(request), job_id)


@changing.delete("/jobs/{job_id}", response_model=answers.Job, responses=answers.NOT_THERE)
def stop_job(request: Request, job_id: JobId) -> Job:
    """Ask a job to stop; what it finished is kept.

    One that waits is stopped at once. A running fine-tune ends within seconds, an embed after the
    batches that it is at; the other kinds are short and finish what they began. One that is over
    stays as it is.
    """
    project = project_of(request)
    job_of(project, job_id)
    jobs.stop(project.database, job_id)
    return job_of(project, job_id)


@changing.post("/retrain", status_code=202, response_model=answers.Job, responses=answers.TAKEN)
def retrain(request: Request, wanted: Retrain, by: Engineer, later: BackgroundTasks) -> Job:
    """Train again: the heads on every label so far, or the backbone too (`finetune`).

    What waits or runs already is not asked for twice: the answer is that job, or 409 where another
    reason was given for it.
    """
    said = {"reason": wanted.reason} if wanted.reason else {}
    job = request_once(project_of(request), JOB_OF[wanted.kind], said, by=by.name)
    send_later(request, later, job)
    return job


@changing.post(
    "/models/{model}/promote", response_model=answers.Current, responses=answers.NOT_THERE
)
def promote(request: Request, model: ModelId, by: Engineer) -> dict[str, str]:
    """Let this model answer from now on; 422 where a file of it is missing."""
    project = project_of(request)
    check_model(project, model)
    switch(project, model, reason=f"promoted by {by.name}")
    return {"model": model}


@changing.post("/rollback", response_model=answers.Current)
def rollback(request: Request) -> dict[str, str]:
    """Go back to the model that answered before; twice goes back two."""
    return {"model": switch_back(project_of(request))}
