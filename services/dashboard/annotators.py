"""The people who label: agreement, pace, whether guesses lead them; what should be settled."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from atlas.analysis.disagreements import disagreements
from atlas.analysis.doubted import Doubts, doubts
from atlas.analysis.names import names
from atlas.analysis.people import Person, team
from atlas.analysis.stored import model_or_current
from atlas.consensus import AGREEING
from atlas.errors import ModelError
from atlas.project import Project
from atlas.settling import count_unasked
from atlas.status import accuracy
from services.dashboard.pictures import gallery
from services.dashboard.rendering import render

PAGE = 24
DOUBTS = 24

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class _Doubted:
    """The doubtful labels, or why there are none to show."""

    found: Doubts | None
    why_not: str = ""


@router.get("/annotators")
def get_annotators(
    request: Request,
    level: str | None = None,
    start: Annotated[int, Query(alias="from", ge=1, le=10**9)] = 1,
) -> Response:
    """The page; people are compared at `level`, the finest where none is given.

    Of their disagreements it lists 24, those from the place `from` on. At a quantity it tells no
    more than those: numbers are the same or not by a rule of their own.
    """
    project: Project = request.app.state.project
    known, finest = list(project.taxonomy.outputs), project.taxonomy.levels[-1]
    chosen = level or finest
    if chosen not in known:
        raise HTTPException(404, f"no level {chosen!r}; known: {', '.join(known)}")
    is_number = chosen in project.taxonomy.quantities
    everybody = team(project, finest if is_number else chosen)
    model = {"high": None} if is_number else accuracy(project)[chosen]
    split = disagreements(project, chosen, start=start - 1, limit=PAGE)
    with project.database.reader() as session:
        unasked = count_unasked(session)
    return render(
        request,
        "annotators.html.j2",
        level=chosen,
        levels=known,
        is_number=is_number,
        near=AGREEING,
        team=everybody,
        led={person.annotator for person in everybody.people if follows_guesses(person, model)},
        model=model,
        split=split,
        first=start,
        last=start + len(split.listed) - 1,
        earlier=max(start - PAGE, 1) if start > 1 else None,
        later=start + PAGE if start + PAGE <= split.found else None,
        unasked=unasked,
        doubted=None if is_number else _doubted(project, chosen),
        gallery=gallery(project),
        called=names(project),
    )


def follows_guesses(person: Person, model: dict[str, Any]) -> bool:
    """Whether somebody keeps more guesses than the model can be right about.

    Of the images it is asked about the model is right less often than of random ones, so keeping
    clearly more guesses than it gets right on the audit set is too many: the whole interval of the
    one lies above the whole interval of the other.
    """
    low = person.accepted.low
    return low is not None and model["high"] is not None and low > model["high"]


def _doubted(project: Project, level: str) -> _Doubted:
    try:
        model_id = model_or_current(project, None)
        if model_id is None:
            return _Doubted(None, "There is no model yet to doubt them.")
        found = doubts(project, level, model_id, limit=DOUBTS)
    except ModelError as error:
        return _Doubted(None, str(error))
    if not found.n:
        return _Doubted(None, "There are too few labels for predictions that never saw them.")
    return _Doubted(found)
