"""Ask for a round of one's own: how many pictures, chosen by which sampler, at which level."""

from fastapi import APIRouter, BackgroundTasks, HTTPException, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from atlas.errors import PluginError, TaxonomyError
from atlas.plugins import available
from atlas.project import Project
from atlas.round_state import open_number
from atlas.store.tables import Job
from services.api import answers
from services.api.access import Engineer, engineer
from services.api.common import project_of, request_once, send_later

KIND = "query"
FINEST = "finest"

changing = APIRouter(
    prefix="/api/v1",
    responses={**answers.WRONG, **answers.NO_TOKEN},
    dependencies=[Security(engineer)],
)


class Wanted(BaseModel):
    """What to ask; 0 and "" mean what the settings say."""

    model_config = ConfigDict(extra="forbid")
    n: int = Field(default=0, ge=0, le=10_000, description="How many pictures.")
    sampler: str = Field(default="", pattern=r"^[a-z0-9_*| ]*$", max_length=200)
    level: str = Field(default="", max_length=64)


@changing.post("/query", status_code=202, response_model=answers.Job, responses=answers.TAKEN)
def query(request: Request, wanted: Wanted, by: Engineer, later: BackgroundTasks) -> Job:
    """Open a round: a worker chooses the pictures and sends them to the annotators.

    One round is open at a time, so this is for `service.auto_rounds = false`, or for when the pool
    was exhausted. Looking at the job tells the number of the round, or why there is none. The same
    asked for twice is one job.
    """
    project = project_of(request)
    _check(project, wanted)
    job = request_once(project, KIND, wanted.model_dump(), by=by.name)
    send_later(request, later, job)
    return job


def _check(project: Project, wanted: Wanted) -> None:
    """What can be told at once; whether the sampler fits and the pool suffices, the job tells."""
    known = available("atlas.samplers")
    for stage in wanted.sampler.split("|") if wanted.sampler else ():
        name = stage.partition("*")[0].strip()
        if name not in known:
            raise PluginError(f"unknown sampler {name!r}; known: {', '.join(known)}")
    levels = (FINEST, *project.taxonomy.tasks)
    if wanted.level and wanted.level not in levels:
        raise TaxonomyError(f"no level {wanted.level!r}; known: {', '.join(levels)}")
    with project.database.reader() as session:
        number = open_number(session)
    if number is not None:
        said = f"round {number} is open; answer it, or wait until it is complete"
        raise HTTPException(409, said)
