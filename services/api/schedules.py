"""When to train by itself: show, set and remove the schedules."""

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, ConfigDict

from atlas.project import Project
from services.api import answers
from services.api.access import engineer
from services.api.common import project_of
from services.retraining.keeping import change_schedules, overview, remove_schedule, set_schedule
from services.retraining.schedule import Schedule

Kind = Literal["heads", "finetune"]

reading = APIRouter(prefix="/api/v1/schedule", responses=answers.WRONG)
changing = APIRouter(
    prefix="/api/v1/schedule",
    responses={**answers.WRONG, **answers.NO_TOKEN},
    dependencies=[Security(engineer)],
)


class Decided(answers.Answer):
    """What a schedule decided; recorded only where it differs from the decision before."""

    at: datetime
    run: bool
    reason: str


class Scheduled(answers.Answer):
    """A schedule and what follows from it.

    `next` holds the next five times by the clock, in the schedule's zone; `now` what would be
    decided at this moment; `decisions` the last ten, the latest first. Without a schedule
    `schedule` and `set_at` are null; of one that cannot be read, as by another version,
    `schedule` is null and `now` says why.
    """

    schedule: Schedule | None
    set_at: datetime | None
    next: list[datetime]
    now: str
    decisions: list[Decided]


class Both(BaseModel):
    """What to change: a kind that is not named stays as it is, null removes its schedule."""

    model_config = ConfigDict(extra="forbid")
    heads: Schedule | None = None
    finetune: Schedule | None = None


@reading.get("", response_model=dict[Kind, Scheduled])
def get_schedules(request: Request) -> dict[str, dict[str, Any]]:
    """Both schedules, of the heads and of fine-tuning."""
    return overview(project_of(request))


@reading.get("/{kind}", response_model=Scheduled)
def get_schedule(request: Request, kind: Kind) -> dict[str, Any]:
    """One schedule, its next five runs, and why it trained or did not."""
    return _one(project_of(request), kind)


@changing.put("", response_model=dict[Kind, Scheduled])
def put_schedules(request: Request, wanted: Both) -> dict[str, dict[str, Any]]:
    """Replace or remove one schedule or both; where one is wrong, neither changes."""
    project = project_of(request)
    change_schedules(project, wanted.model_dump(exclude_unset=True))
    return overview(project)


@changing.put("/{kind}", response_model=Scheduled)
def put_schedule(request: Request, kind: Kind, wanted: Schedule) -> dict[str, Any]:
    """Replace a schedule; it holds from the next look at the clock, without a restart."""
    project = project_of(request)
    set_schedule(project, kind, wanted.model_dump())
    return _one(project, kind)


@changing.delete("/{kind}", response_model=Scheduled)
def delete_schedule(request: Request, kind: Kind) -> dict[str, Any]:
    """Train no more by itself; what was decided stays on record."""
    project = project_of(request)
    remove_schedule(project, kind)
    return _one(project, kind)


def _one(project: Project, kind: Kind) -> dict[str, Any]:
    return overview(project)[kind]
