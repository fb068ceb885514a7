"""Renders pages from their templates; every page has the same frame and the same words."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from atlas.project import Project
from atlas.types import utc_now
from services.addresses import labelling_url
from services.dashboard import formats
from services.dashboard.assets import asset_url
from services.dashboard.navigation import navigation
from services.dashboard.notes import NOTES
from services.dashboard.session import SignedIn, signed_in

TEMPLATES = Path(__file__).parent / "templates"
THEMES = ("light", "dark")
THEME_COOKIE = "atlas_theme"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "style-src 'self' 'unsafe-inline'",  # plots write style attributes
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)


def render(
    request: Request, template: str, *, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """A page, or a part of one, as it is now.

    Args:
        request: what asked for it.
        template: a file of `templates/`; a page extends `base.html.j2`.
        status_code: of the answer.
        values: what the template asks for, besides what every template knows (`_frame`).
    """
    page = _environment().get_template(template)
    html = page.render({**_frame(request), **values})
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, status_code, headers)


def _frame(request: Request) -> Mapping[str, Any]:
    """What every template knows.

    `by` is who is signed in (None: nobody), `form_token` goes into every form that changes
    something, `said` and `wrong` are what the last form came to.
    """
    project: Project = request.app.state.project
    by: SignedIn | None = signed_in(request)
    theme = request.cookies.get(THEME_COOKIE, "")
    return {
        "project": project.settings.name,
        "here": request.url.path,
        "navigation": navigation(project, request.url.path),
        "labelling_url": labelling_url(project),
        "by": by,
        "form_token": by.form_token if by else "",
        "theme": theme if theme in THEMES else "",
        "now": utc_now(),
        "said": NOTES.get(request.query_params.get("done", ""), ""),
        "wrong": "",
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formats.FILTERS)
    environment.globals["asset"] = asset_url
    return environment
