"""The ML-backend protocol of Label Studio: it asks, Atlas tells its guesses.

The guesses are those that Atlas pushed with its tasks; of other images of the pool, those that are
kept of the model that answers. So nothing is computed and torch is not needed. Blind queries and
audit images get none, as everywhere: a guess sways the annotator.
"""

from collections.abc import Mapping, Sequence
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from atlas.chunks import chunks
from atlas.oracle._regions import region
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import ModelRow, QueryRow
from services.api import answers
from services.api.access import bridge, bridge_first, first
from services.api.common import NAME, project_of
from services.api.pool_guesses import pool_guesses

NONE_YET = "none yet"
NOT_RECORDED = "not recorded"  # of a guess that an older Atlas made

router = APIRouter(
    prefix="/label-studio/ml",
    responses={**answers.WRONG, **answers.NO_TOKEN},
    dependencies=[Security(bridge)],
    route_class=first(bridge_first),
)


class Up(answers.Answer):
    """What Label Studio looks for before it connects."""

    status: Literal["UP"] = "UP"
    model_class: Literal["Atlas"] = "Atlas"


class Version(answers.Answer):
    """Whose guesses about what waits these are."""

    model_version: str


class Versions(answers.Answer):
    """Every model, the newest first."""

    versions: list[str]


class Task(BaseModel):
    """A task of Label Studio; what else it says is not looked at."""

    data: dict[str, Any]


class Asked(BaseModel):
    """Tasks to guess; what else Label Studio sends is not looked at."""

    tasks: Annotated[list[Task], Field(max_length=10_000)]


class Guess(answers.Answer):
    """A prediction as Label Studio keeps it; the lowest score is asked about first."""

    result: list[dict[str, Any]]
    score: float
    model_version: str


class Guesses(answers.Answer):
    """As many entries as tasks; one is empty where the image is not the pool's, or is blind."""

    results: list[list[Guess]]


@router.get("/health", response_model=Up)
def health() -> Up:
    """Label Studio asks this first."""
    return Up()


@router.post("/setup", response_model=Version)
def setup(request: Request, _said: dict[str, Any]) -> Version:
    """Label Studio says which project it is; its token is in there, and is not kept."""
    with project_of(request).database.reader() as session:
        return Version(model_version=_latest_name(session) or current_id(session) or NONE_YET)


@router.get("/versions", response_model=Versions)
def versions(request: Request) -> Versions:
    """The models there are."""
    with project_of(request).database.reader() as session:
        found = session.scalars(select(ModelRow.id).order_by(ModelRow.id.desc()))
        return Versions(versions=list(found))


@router.post("/predict", response_model=Guesses)
def predict(request: Request, asked: Asked) -> Guesses:
    """The guesses about tasks that Atlas made, or that name an image of its pool by `image_id`.

    None about blind queries and audit images.
    """
    project = project_of(request)
    uids = [_id(task, "uid") for task in asked.tasks]
    rows = _rows(project, uids)
    with project.database.reader() as session:
        version = current_id(session) or NONE_YET
    images = [_id(task, "image_id") for task in asked.tasks]
    others = [image for uid, image in zip(uids, images, strict=True) if uid not in rows]
    kept = {
        image: Guess(result=_regions(project, one.values), score=one.sure, model_version=one.model)
        for image, one in pool_guesses(project, others).items()
    }
    found = [
        _guess(project, rows[uid], version) if uid in rows else kept.get(image)
        for uid, image in zip(uids, images, strict=True)
    ]
    return Guesses(results=[[] if one is None else [one] for one in found])


def _id(task: Task, key: str) -> str:
    """What a task says under `key` if an id may look so; not every text may be looked for."""
    said = task.data.get(key)
    return said if isinstance(said, str) and re.fullmatch(NAME, said) else ""


def _guess(project: Project, row: QueryRow, version: str) -> Guess:
    known = {} if row.blind else row.guess
    name = row.guess_by or NOT_RECORDED if known else version
    return Guess(result=_regions(project, known), score=float(row.priority), model_version=name)


def _regions(project: Project, values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [region(task, value, project.taxonomy) for task, value in values.items()]


def _rows(project: Project, uids: Sequence[str]) -> dict[str, QueryRow]:
    found: dict[str, QueryRow] = {}
    with project.database.reader() as session:
        for chunk in chunks(uids):
            wanted = select(QueryRow).where(QueryRow.uid.in_(chunk))
            found |= {row.uid: row for row in session.scalars(wanted)}
    return found


def _latest_name(session: Session) -> str | None:
    """Whose guesses wait: Label Studio asks again about tasks without one of this name."""
    waiting = select(QueryRow.guess_by).where(QueryRow.state == "pushed", QueryRow.guess_by != "")
    return session.scalar(waiting.order_by(QueryRow.round_number.desc()).limit(1))
