"""Renders the dashboard: one page, no script, nothing from elsewhere."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from atlas.cli.output import gain_cell
from atlas.decimals import decimal
from atlas.progress import in_words
from atlas.project import Project
from atlas.status import queue, status
from atlas.types import utc_now
from services.addresses import labelling_url
from services.dashboard.curve import plot

REFRESH_S = 10
QUEUE_SHOWN = 8
STATES = {name: name for name in ("running", "done", "failed", "stopped")} | {"queued": "waits"}

router = APIRouter()


@router.get("/", response_class=HTMLResponse)
def dashboard(request: Request) -> str:
    """The page as it is now."""
    return render(request.app.state.project)


def render(project: Project) -> str:
    """The whole page as HTML."""
    facts = status(project)
    tasks = list(facts["accuracy"])
    open_round = next((one for one in facts["rounds"] if one["state"] == "open"), None)
    return _template().render(
        facts=facts,
        tasks=tasks,
        quantities=list(facts["errors"]),
        open_round=open_round,
        queue=queue(project, limit=QUEUE_SHOWN) if open_round else [],
        curve=plot(facts["rounds"], tasks),
        labelling_url=labelling_url(project),
        states=STATES,
        now=utc_now().strftime("%Y-%m-%d %H:%M:%S UTC"),
        refresh_s=REFRESH_S,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["decimal"] = _decimal
    environment.filters["gain"] = gain_cell
    environment.filters["progress"] = in_words
    return environment.get_template("page.html.j2")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _decimal(value: float | None) -> str:
    return "–" if value is None else decimal(value)
