"""The web API of one project: accuracy, rounds, jobs, models, the webhook, the dashboard.

Nothing here trains or waits for a training: it records, asks for a job and returns.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from atlas import __version__
from atlas.errors import AtlasError, BusyError, OracleUnreachable
from atlas.project import Project
from services.api import (
    access,
    accuracy,
    answers,
    asking,
    away,
    events,
    exports,
    health,
    metrics,
    ml_backend,
    numbers,
    pictures,
    predict,
    project_paths,
    readiness,
    schedules,
    sizes,
    webhook,
    work,
)
from services.celery_config import build_app
from services.dashboard import label
from services.dashboard.pages import public
from services.dashboard.pages import router as pages
from services.dashboard.session import holder_of
from services.dashboard.wrong import answer_http, shows_pages, wrong_page
from services.predicting import Predicting

DESCRIPTION = (
    "One project's accuracy, queue, jobs, models and schedules. Every path under /api/v1/ may name "
    "the project as well: /api/v1/projects/{project}/accuracy is /api/v1/accuracy."
)

# What FastAPI says, with a 400, of JSON that cannot be read for another reason than its grammar.
UNPARSED = "There was an error parsing the body"
UNREADABLE = (
    "this JSON cannot be read; send UTF-8, without numbers of thousands of digits, and nothing "
    "nested hundreds deep"
)


def create_app(project_dir: Path) -> FastAPI:
    """The web application of the project in `project_dir`; `access` says who may do what.

    Raises:
        SettingsError: no project there, or its settings are wrong.
    """
    project = Project(project_dir)
    app = project_paths.Api(
        title="Atlas",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.project = project
    app.state.celery = build_app(project)
    app.state.predicting = Predicting(project.directory)
    app.state.readying = readiness.Readying(project, app.state.celery)
    app.state.metrics = metrics.registry_of(project)
    app.add_middleware(sizes.BodySizes)  # within the next one, so that it knows every path
    app.add_middleware(project_paths.ProjectPaths, name=project.settings.name)
    for own in (health, readiness, pictures, webhook, ml_backend, predict):
        app.include_router(own.router)
    app.include_router(public)  # signing in, and what its page looks like
    app.include_router(label.router)  # Label Studio has a login of its own
    for module in (work, schedules, asking):
        app.include_router(module.changing)
    readings = [
        one.reading for one in (numbers, accuracy, work, events, schedules, exports, metrics)
    ]
    if access.is_open_for_reading(project):
        # A page elsewhere must not reach the API by a name that resolves to this machine.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
        for router in (*readings, pages):
            app.include_router(router)
    else:
        viewer = Depends(access.reading(signed_in=holder_of))
        visitor = Depends(access.reading(access.BASIC, signed_in=holder_of))
        for router in readings:
            app.include_router(router, dependencies=[viewer], responses=answers.NO_TOKEN)
        app.include_router(pages, dependencies=[visitor], responses=answers.NO_TOKEN)
    app.add_exception_handler(HTTPException, _answer_refused)
    app.add_exception_handler(AtlasError, _answer_error)
    for kind in (OperationalError, InterfaceError):
        app.add_exception_handler(kind, away.answer_away)
    app.add_exception_handler(RequestValidationError, _answer_wrong)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.predicting.close()
    app.state.readying.close()


def _answer_error(request: Request, error: Exception) -> Response:
    later = isinstance(error, BusyError | OracleUnreachable)
    status_code = 503 if later else 422
    if shows_pages(request):
        return wrong_page(request, status_code, str(error))
    return JSONResponse({"error": str(error)}, status_code)


async def _answer_refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.detail == UNPARSED:
        return JSONResponse({"error": UNREADABLE}, 422)
    return await answer_http(request, error)


def _answer_wrong(request: Request, error: Exception) -> Response:
    """Which parts are wrong, without what they held: that may be no text at all."""
    assert isinstance(error, RequestValidationError)
    if shows_pages(request):
        return wrong_page(request, 422, "")
    found = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
    return JSONResponse({"detail": found}, status_code=422)
