"""When Atlas trains by itself: show it, change it, see what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from atlas.analysis.drift import LEAST
from atlas.errors import SettingsError
from atlas.project import Project
from services.dashboard.reminders import reminders
from services.dashboard.rendering import render
from services.dashboard.schedule_faults import BELOW, DRIFT, FieldError, wrong_fields
from services.dashboard.session import EngineerForm, Form
from services.retraining import keeping
from services.retraining.facts import JOB_OF

TITLES = {"heads": "Heads", "finetune": "Backbone"}
ABOUT = {
    "heads": "Refits the heads on every label so far: seconds.",
    "finetune": "Fine-tunes the backbone and promotes it where it is better: minutes to hours.",
}
HOUR_S = 3600.0

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Draft:
    """What stands in the form of one kind: what is saved, or what somebody typed that is wrong.

    Attributes:
        fields: field → its text.
        wrong: why it cannot be saved; "" where nothing is wrong.
        at: the fields that are wrong, in the order of the page.
    """

    fields: Mapping[str, str]
    wrong: str = ""
    at: tuple[str, ...] = ()


@router.get("/schedule")
def get_schedule(request: Request) -> Response:
    """The page as it is now."""
    return _page(request)


@router.post("/schedule/{kind}")
def change_schedule(request: Request, kind: str, form: EngineerForm) -> Response:
    """Save the schedule of a kind; the button `remove` takes it away."""
    if kind not in JOB_OF:
        raise HTTPException(404, f"no kind of training {kind!r}; known: {', '.join(JOB_OF)}")
    project: Project = request.app.state.project
    if "remove" in form.fields:
        keeping.remove_schedule(project, kind)
        return RedirectResponse("/schedule?done=unscheduled", status_code=303)
    tasks, content = list(project.taxonomy.tasks), {}
    try:
        content = content_of(form, tasks)
        keeping.set_schedule(project, kind, content)
    except FieldError as error:
        return _refused(request, kind, Draft(form.fields, str(error), (error.field,)))
    except SettingsError as error:
        at = wrong_fields(content, tasks)
        return _refused(request, kind, Draft(form.fields, str(error), at))
    return RedirectResponse("/schedule?done=scheduled", status_code=303)


def content_of(form: Form, tasks: list[str]) -> dict[str, Any]:
    """A schedule's content from the fields of the form; an empty field says nothing.

    Raises:
        FieldError: a number that is none.
    """
    start, end = form.text("quiet_from"), form.text("quiet_to")
    pause_h = _number(form, "pause_h", "the pause")
    content: dict[str, Any] = {
        "cron": form.text("cron"),
        "zone": form.text("zone") or "UTC",
        "below": _bounds(form, BELOW, tasks),
        "drift": _bounds(form, DRIFT, tasks),
        "pause_s": (pause_h or 0.0) * HOUR_S,
        "quiet": f"{start}-{end}" if start or end else "",
    }
    for name in ("after_labels", "per_day"):
        if form.text(name):
            content[name] = form.text(name)
    return content


def draft_of(schedule: Mapping[str, Any] | None) -> Draft:
    """The form's fields for a schedule that is saved."""
    if schedule is None:
        return Draft({"zone": "UTC"})
    start, _, end = schedule["quiet"].partition("-")
    fields = {
        "cron": schedule["cron"],
        "zone": schedule["zone"],
        "after_labels": _text(schedule["after_labels"]),
        "pause_h": _text(schedule["pause_s"] / HOUR_S or None),
        "quiet_from": start,
        "quiet_to": end,
        "per_day": _text(schedule["per_day"]),
    }
    for before, bounds in ((BELOW, schedule["below"]), (DRIFT, schedule["drift"])):
        fields |= {before + task: _text(100 * bound) for task, bound in bounds.items()}
    return Draft(fields)


def _refused(request: Request, kind: str, draft: Draft) -> Response:
    """The page with what was typed; the frame says why, for the form may be far below."""
    said = Markup('{}: {}. <a href="#{}-{}">Go there</a>').format(
        TITLES[kind], draft.wrong, kind, draft.at[0]
    )
    return _page(request, typed={kind: draft}, wrong=said)


def _page(
    request: Request, *, typed: Mapping[str, Draft] | None = None, wrong: str = ""
) -> Response:
    project: Project = request.app.state.project
    found = keeping.overview(project)
    drafts = {kind: draft_of(one["schedule"]) for kind, one in found.items()} | dict(typed or {})
    return render(
        request,
        "schedule.html.j2",
        status_code=422 if typed else 200,
        kinds=found,
        drafts=drafts,
        titles=TITLES,
        about=ABOUT,
        below=BELOW,
        drift=DRIFT,
        least=LEAST,
        tasks=list(project.taxonomy.tasks),
        reminders=reminders(project),
        wrong=wrong,
    )


def _bounds(form: Form, before: str, tasks: list[str]) -> dict[str, float]:
    """Level → its bound as a share, of the levels whose field is filled in."""
    given = {task: _number(form, before + task, f"the bound of {task}") for task in tasks}
    return {task: percent / 100 for task, percent in given.items() if percent is not None}


def _number(form: Form, field: str, what: str) -> float | None:
    text = form.text(field)
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise FieldError(field, f"{what}: expected a number, got {text!r}") from error


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
