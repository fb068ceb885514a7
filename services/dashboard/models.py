"""Which models there are, what changed from one to the next, and which one answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from atlas import promotion
from atlas.answering import TUNED
from atlas.errors import ModelError
from atlas.project import Project
from atlas.status import Measurements
from atlas.store.tables import ModelRow, Promotion
from atlas.switching import switch, switch_back
from services.dashboard.rendering import render
from services.dashboard.session import EngineerForm

SHOWN = 25

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class ModelView:
    """One model.

    Attributes:
        row: as it was registered.
        standing: "answers now", "earlier", "not promoted" or "never".
        changes: what is new since the model before it.
        accuracy: task → what was measured.
        errors: quantity → what was measured.
        finetune: what its promotion was decided on; None for heads on a backbone that was there.
    """

    row: ModelRow
    standing: str
    changes: tuple[str, ...]
    accuracy: Mapping[str, Mapping[str, Any]]
    errors: Mapping[str, Mapping[str, Any]]
    finetune: Mapping[str, Any] | None


@dataclass(frozen=True)
class Change:
    """One line of who answered when."""

    model: str
    reason: str
    at: datetime


@router.get("/models")
def get_models(request: Request) -> Response:
    """The page; `before` goes on to older models."""
    return _page(request)


@router.post("/models/{model}/promote")
def promote(request: Request, model: str, form: EngineerForm) -> Response:
    """Let a model answer from now on."""
    project: Project = request.app.state.project
    try:
        switch(project, model, reason=f"promoted by {form.by.name}")
    except ModelError as error:
        return _page(request, wrong=str(error))
    return RedirectResponse("/models?done=promoted", status_code=303)


@router.post("/models/rollback")
def roll_back(request: Request, _form: EngineerForm) -> Response:
    """Go back to the model that answered before."""
    project: Project = request.app.state.project
    try:
        switch_back(project)
    except ModelError as error:
        return _page(request, wrong=str(error))
    return RedirectResponse("/models?done=rolled-back", status_code=303)


def _page(request: Request, *, wrong: str = "") -> Response:
    project: Project = request.app.state.project
    before = request.query_params.get("before", "")
    with project.database.reader() as session:
        views = _views(session, project)
        history = _history(session)
        previous = promotion.previous_id(session)
    older = [one for one in views if not before or one.row.id < before]
    return render(
        request,
        "models.html.j2",
        status_code=422 if wrong else 200,
        wrong=wrong,
        count=len(views),
        current=next((one for one in views if one.standing == "answers now"), None),
        models=older[:SHOWN],
        older=older[SHOWN - 1].row.id if len(older) > SHOWN else "",
        is_first=len(older) == len(views),
        previous=previous,
        history=history[:SHOWN],
        rejected=[one for one in views if one.finetune and not one.finetune["promoted"]][:SHOWN],
        tasks=list(project.taxonomy.tasks),
        quantities=list(project.taxonomy.quantities),
    )


def _views(session: Session, project: Project) -> list[ModelView]:
    """Every model, the newest first."""
    known = Measurements(session, project)
    current = promotion.current_id(session)
    answered = set(session.scalars(select(Promotion.model_id)))
    befores: Sequence[ModelRow | None] = [*known.models[1:], None]
    return [
        ModelView(
            row=row,
            standing=_standing(row, current, answered),
            changes=tuple(_changes(row, before)),
            accuracy=known.accuracy(row.id),
            errors=known.errors(row.id),
            finetune=row.metrics.get("finetune"),
        )
        for row, before in zip(known.models, befores, strict=bool(known.models))
    ]


def _standing(row: ModelRow, current: str | None, answered: set[str]) -> str:
    if row.id == current:
        return "answers now"
    if row.id in answered:
        return "earlier"
    return "not promoted" if row.metrics.get("finetune") else "never"


def _changes(row: ModelRow, before: ModelRow | None) -> list[str]:
    """What differs from the model before, in words."""
    tuned = row.metrics.get(TUNED)
    if before is None:
        return ["the first model"]
    said = []
    if row.labels != before.labels:
        said.append(f"{row.labels - before.labels:+,} labels")
    if row.round_number != before.round_number and row.round_number is not None:
        said.append(f"round {row.round_number}")
    if row.head != before.head:
        said.append(f"head {before.head} → {row.head}")
    if row.fingerprint != before.fingerprint:
        said.append("backbone fine-tuned" if tuned else "backbone as it was before fine-tuning")
    return said or ["trained again on the same labels"]


def _history(session: Session) -> list[Change]:
    """Who answered from when on, the latest first."""
    rows = session.scalars(select(Promotion).order_by(Promotion.id.desc()))
    return [Change(row.model_id, row.reason, row.promoted_at) for row in rows]
