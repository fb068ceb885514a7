"""The first page: how good it is, what is asked, what runs, what comes next, who helped."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from atlas.analysis.names import names
from atlas.project import Project
from atlas.status import status
from services.dashboard.figures import Table, figure_html, tone
from services.dashboard.formats import NONE, percent
from services.dashboard.job_views import active_jobs
from services.dashboard.people import people
from services.dashboard.rendering import render
from services.dashboard.schedule import TITLES
from services.retraining import keeping

SHOWN_ROUNDS = 30

router = APIRouter(include_in_schema=False)


@router.get("/")
def overview(request: Request) -> Response:
    """The page as it is now."""
    project: Project = request.app.state.project
    facts = status(project)
    tasks = list(facts["accuracy"])
    return render(
        request,
        "overview.html.j2",
        facts=facts,
        tasks=tasks,
        quantities=list(facts["errors"]),
        open_round=next((one for one in facts["rounds"] if one["state"] == "open"), None),
        rounds=facts["rounds"][: -SHOWN_ROUNDS - 1 : -1],
        curve=curve(facts["rounds"], tasks),
        people=people(project),
        called=names(project),
        training=keeping.overview(project),
        titles=TITLES,
        auto_rounds=project.settings.service.auto_rounds,
        active=active_jobs(project),
    )


@router.get("/parts/active")
def active(request: Request) -> Response:
    """What runs and waits now, for the page to renew."""
    return render(request, "active.html.j2", active=active_jobs(request.app.state.project))


def curve(rounds: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> Markup | None:
    """Accuracy over labels, a line and a band a task; None before two rounds were measured."""
    measured = [one for one in rounds if _is_measured(one)]
    if len({one["labels"] for one in measured}) < 2:
        return None
    traces: list[dict[str, Any]] = []
    for place, task in enumerate(tasks):
        traces += _traces(task, tone(place), measured)
    layout = {
        "height": 380,
        "xaxis": {"title": {"text": "labels"}, "rangemode": "tozero", "showgrid": False},
        "yaxis": {"tickformat": ".0%", "range": [0, 1]},
        "hovermode": "x unified",
    }
    return figure_html(
        {"data": traces, "layout": layout},
        label=f"Accuracy over labels at {', '.join(tasks)}, with 95% intervals",
        table=_table(measured, tasks),
    )


def _is_measured(one: Mapping[str, Any]) -> bool:
    return any(at["accuracy"] is not None for at in one["accuracy"].values())


def _traces(task: str, colour: str, measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The band of a task's intervals, and the line in it."""
    points = [
        (one["labels"], at["accuracy"], at["low"], at["high"])
        for one in measured
        if (at := one["accuracy"].get(task)) is not None and at["accuracy"] is not None
    ]
    labels = [x for x, *_ in points]
    band = {
        "x": labels + labels[::-1],
        "y": [high for *_, high in points] + [low for _, _, low, _ in points[::-1]],
        "fill": "toself",
        "fillcolor": colour,
        "line": {"width": 0},
        "mode": "lines",
        "opacity": 0.14,
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": task,
    }
    line = {
        "x": labels,
        "y": [accuracy for _, accuracy, _, _ in points],
        "text": [f"{percent(low)} to {percent(high)}" for _, _, low, high in points],
        "name": task,
        "legendgroup": task,
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2.5},
        "marker": {"size": 7},
        "hovertemplate": "%{y:.1%} (%{text})",
    }
    return [band, line]


def _table(measured: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> Table:
    return Table(
        ("labels", *tasks),
        [
            (f"{one['labels']:,}", *(_cell(one["accuracy"].get(task)) for task in tasks))
            for one in measured
        ],
    )


def _cell(at: Mapping[str, Any] | None) -> str:
    if at is None or at["accuracy"] is None:
        return NONE
    return f"{percent(at['accuracy'])} ({percent(at['low'])} to {percent(at['high'])})"
