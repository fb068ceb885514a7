"""The web API of one project: accuracy, rounds, status, the webhook, the dashboard.

Nothing here trains or waits for a training: the webhook records, asks for a job and returns.
"""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from atlas.errors import AtlasError, BusyError, OracleUnreachable
from atlas.project import Project
from services.api import numbers, webhook
from services.celery_config import build_app
from services.dashboard import page

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def create_app(project_dir: Path) -> FastAPI:
    """The web application of the project in `project_dir`.

    Raises:
        SettingsError: no project there, or its settings are wrong.
    """
    project = Project(project_dir)
    app = FastAPI(title="Atlas", docs_url=None, redoc_url=None)
    app.state.project = project
    app.state.celery = build_app(project)
    if project.settings.service.host in LOOPBACK:
        # A page elsewhere must not reach the API by a name that resolves to this machine.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    app.include_router(numbers.router)
    app.include_router(webhook.router)
    app.include_router(page.router)
    app.add_exception_handler(AtlasError, _answer_error)
    return app


def _answer_error(_request: Request, error: Exception) -> JSONResponse:
    later = isinstance(error, BusyError | OracleUnreachable)
    return JSONResponse({"error": str(error)}, status_code=503 if later else 422)
