"""What is answered while the database is away: 503, as JSON or as a page.

The usual page of what went wrong asks the database too, for who is signed in, so this one stands
by itself.
"""

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
import structlog

from services.dashboard.wrong import shows_pages

# no address: SQLAlchemy's own text holds the host, and this is told to strangers
SAID = "the database does not answer; try again in a minute, or see the log of the web API"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Not now</title></head>
<body><h1>Not now</h1><p>The database does not answer. <a href="">Try again</a> in a minute, or
see the log of the web API.</p></body></html>
"""
log = structlog.get_logger(__name__)


async def answer_away(request: Request, error: Exception) -> Response:
    """Handler of SQLAlchemy's errors that say that the database is not there, or too busy."""
    cause = getattr(error, "orig", error)  # without the statement and what it was to write
    log.error("the database does not answer", path=request.url.path, error=str(cause))
    if shows_pages(request):
        return HTMLResponse(PAGE, 503)
    return JSONResponse({"error": SAID}, 503)
