"""What a browser shows where there is nothing to show: a page with the way back, not JSON."""

from http import HTTPStatus

from fastapi import Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from services.dashboard.rendering import render

HTML = "text/html"
TITLES = {
    401: "Sign in to see this page",
    403: "This is not for you",
    404: "There is no such page",
    405: "This address takes forms alone",
    422: "This address is not right",
    503: "Not now",
}
MACHINES = ("/api/", "/label-studio/", "/images/", "/static/", "/openapi.json")


def shows_pages(request: Request) -> bool:
    """Whether a person waits for the answer: a browser asks for HTML, at an address of a page."""
    accepted = request.headers.get("accept", "").split(",")
    wants_html = HTML in (one.partition(";")[0].strip() for one in accepted)
    return wants_html and not request.url.path.startswith(MACHINES)


def wrong_page(
    request: Request, status_code: int, why: str, headers: dict[str, str] | None = None
) -> Response:
    """The page; `why` says in a sentence what is wrong."""
    title = TITLES.get(status_code) or HTTPStatus(status_code).phrase
    values = {"heading": title, "why": why, "status": status_code}
    answer = render(request, "wrong.html.j2", status_code=status_code, **values)
    answer.headers.update(headers or {})
    return answer


async def answer_http(request: Request, error: Exception) -> Response:
    """A page for people, JSON for programs; what leads elsewhere is left as it is."""
    assert isinstance(error, HTTPException)
    if error.status_code < 400 or not shows_pages(request):
        return await http_exception_handler(request, error)
    said = "" if error.detail == HTTPStatus(error.status_code).phrase else str(error.detail)
    headers = dict(error.headers) if error.headers else None
    return wrong_page(request, error.status_code, said, headers)
