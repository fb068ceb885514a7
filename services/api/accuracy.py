"""How good the models are: now, over time, and class by class; each as JSON or CSV."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import AwareDatetime
from sqlalchemy import func, select

from atlas.accuracy import CONFIDENCE, measured_at
from atlas.analysis.classes import class_accuracies
from atlas.project import Project
from atlas.promotion import current_id
from atlas.status import measured, models
from atlas.store.tables import AccuracyRow
from services.api import answers
from services.api.common import NAME, check_model, project_of
from services.api.csv_answers import MEASURED, measured_row, table_or, varies

reading = APIRouter(
    prefix="/api/v1/accuracy", responses=answers.WRONG, dependencies=[Depends(varies)]
)

NOW = ("level", *MEASURED, "model", "measured_at")
PAST = ("measured_at", "round", "model", "labels", "level", *MEASURED)
BY_CLASS = ("level", "class", "accuracy", "low", "high", "confidence", "n", "state", "model")

AS_CSV: answers.Responses = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
BOTH: answers.Responses = {**answers.NOT_THERE, **AS_CSV}

Level = Annotated[str | None, Query(max_length=64, description="Only this level.")]
Model = Annotated[
    str | None, Query(pattern=NAME, max_length=32, description="Else the one that answers.")
]
PastModel = Annotated[
    str | None, Query(pattern=NAME, max_length=32, description="Only this model.")
]
Since = Annotated[
    AwareDatetime | None,
    Query(description="Only what was measured at this time or later, as 2026-11-01T00:00:00Z."),
]


@reading.get(
    "", response_model=dict[str, answers.ModelAccuracy | answers.ModelMeanError], responses=BOTH
)
def get_accuracy(
    request: Request, level: Level = None, model: Model = None, since: Since = None
) -> Any:
    """How good a model is on the audit set, with a 95% interval, at one level or all.

    Accuracy for levels and attributes, mean absolute error for quantities.
    """
    project = project_of(request)
    _check(project, level, model)
    with project.database.reader() as session:
        model_id = model or current_id(session)
        at = measured_at(session, model_id) if model_id is not None else None
    found = {
        name: {**one, "model": model_id, "measured_at": at}
        for name, one in measured(project, model_id).items()
        if _is_wanted(name, at, level, since)
    }
    return table_or(request, found, NOW, (_line(name, one) for name, one in found.items()))


@reading.get(
    "/history", response_model=list[answers.PastAccuracy | answers.PastMeanError], responses=BOTH
)
def get_history(
    request: Request, level: Level = None, model: PastModel = None, since: Since = None
) -> Any:
    """What every model was measured at, the first first: accuracy over rounds and over labels.

    `round` is null for a model that was trained between rounds.
    """
    project = project_of(request)
    _check(project, level, model)
    found = [
        one
        for one in _history(project)
        if model in (None, one["model"]) and _is_wanted(one["level"], _at(one), level, since)
    ]
    return table_or(request, found, PAST, ({**one, **measured_row(one)} for one in found))


@reading.get("/classes", response_model=list[answers.ClassAccuracy], responses=BOTH)
def get_classes(
    request: Request,
    level: Annotated[str, Query(max_length=64, description="A level or an attribute.")],
    model: Model = None,
) -> Any:
    """Of each class at a level, the share of its audit images that a model gets right.

    On the audit labels of this moment, so there is no `since`.
    """
    project = project_of(request)
    if level not in project.taxonomy.tasks:
        raise _no_level(level, project.taxonomy.tasks)
    _check(project, level, model)
    with project.database.reader() as session:
        model_id = model or current_id(session)
    said = {"confidence": CONFIDENCE, "model": model_id}
    found = [{"level": level, **one, **said} for one in class_accuracies(project, level, model_id)]
    return table_or(request, found, BY_CLASS, found)


def _history(project: Project) -> Iterator[dict[str, Any]]:
    """A record a measured model and level."""
    times = _measured_at(project)
    for model in reversed(models(project)):
        if model["model"] not in times:
            continue
        said = {key: model[key] for key in ("model", "round", "labels")}
        said["measured_at"] = times[model["model"]]
        for level, one in {**model["accuracy"], **model["errors"]}.items():
            yield {"level": level, **said, **one}


def _measured_at(project: Project) -> dict[str, datetime]:
    """Model → when it was last measured."""
    latest = select(AccuracyRow.model_id, func.max(AccuracyRow.measured_at))
    with project.database.reader() as session:
        return dict(session.execute(latest.group_by(AccuracyRow.model_id)).all())


def _check(project: Project, level: str | None, model: str | None) -> None:
    known = (*project.taxonomy.tasks, *project.taxonomy.quantities)
    if level is not None and level not in known:
        raise _no_level(level, known)
    if model is not None:
        check_model(project, model)


def _no_level(level: str, known: Any) -> HTTPException:
    return HTTPException(404, f"no level {level!r}; known: {', '.join(known)}")


def _is_wanted(name: str, at: datetime | None, level: str | None, since: datetime | None) -> bool:
    return level in (None, name) and (since is None or (at is not None and at >= since))


def _at(one: Mapping[str, Any]) -> datetime:
    at: datetime = one["measured_at"]
    return at


def _line(level: str, one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "level": level, **measured_row(one)}
