"""The ML-backend protocol of Label Studio: it asks, Atlas tells its guesses.

The guesses are those that Atlas pushed with its tasks, so nothing is computed and torch is not
needed. Blind ones get none, as everywhere: a guess sways the annotator.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, Field
from sqlalchemy import select

from atlas.oracle._regions import region
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import ModelRow, QueryRow
from services.api import answers
from services.api.access import bridge
from services.api.common import project_of

CHUNK = 500
NONE_YET = "none yet"

router = APIRouter(
    prefix="/label-studio/ml",
    responses={**answers.WRONG, **answers.NO_TOKEN},
    dependencies=[Security(bridge)],
)


class Up(answers.Answer):
    """What Label Studio looks for before it connects."""

    status: Literal["UP"] = "UP"
    model_class: Literal["Atlas"] = "Atlas"


class Version(answers.Answer):
    """The model whose guesses these are."""

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
    """As many entries as tasks; an entry is empty for a task that is not Atlas's."""

    results: list[list[Guess]]


@router.get("/health", response_model=Up)
def health() -> Up:
    """Label Studio asks this first."""
    return Up()


@router.post("/setup", response_model=Version)
def setup(request: Request, _said: dict[str, Any]) -> Version:
    """Label Studio says which project it is; its token is in there, and is not kept."""
    return Version(model_version=_version(project_of(request)))


@router.get("/versions", response_model=Versions)
def versions(request: Request) -> Versions:
    """The models there are."""
    with project_of(request).database.reader() as session:
        found = session.scalars(select(ModelRow.id).order_by(ModelRow.id.desc()))
        return Versions(versions=list(found))


@router.post("/predict", response_model=Guesses)
def predict(request: Request, asked: Asked) -> Guesses:
    """The guesses about tasks that Atlas made; none about blind ones."""
    project = project_of(request)
    uids = [str(task.data.get("uid", "")) for task in asked.tasks]
    rows, version = _rows(project, uids), _version(project)
    found = [[_guess(project, rows[uid], version)] if uid in rows else [] for uid in uids]
    return Guesses(results=found)


def _guess(project: Project, row: QueryRow, version: str) -> Guess:
    known = {} if row.blind else row.guess
    regions = [region(task, value, project.taxonomy) for task, value in known.items()]
    return Guess(result=regions, score=float(row.priority), model_version=version)


def _rows(project: Project, uids: Sequence[str]) -> dict[str, QueryRow]:
    found: dict[str, QueryRow] = {}
    with project.database.reader() as session:
        for start in range(0, len(uids), CHUNK):
            wanted = select(QueryRow).where(QueryRow.uid.in_(uids[start : start + CHUNK]))
            found |= {row.uid: row for row in session.scalars(wanted)}
    return found


def _version(project: Project) -> str:
    with project.database.reader() as session:
        return current_id(session) or NONE_YET
