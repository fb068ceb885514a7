"""How large a body may be, told before it is read.

FastAPI reads a body before it asks for a token, so a stranger's would fill the memory. Starlette
has a limit of its own (`max_body_size`), but answers with text where the API answers with JSON.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.dashboard.wrong import answer_http

ORDINARY = 2**20
# 10,000 tasks with their annotations; who sends them is asked for before the body is read.
LABEL_STUDIO = 32 * 2**20
PREDICT = "/api/v1/predict"  # it takes pictures, and looks after their sizes itself

TOO_LARGE = {
    "description": "More bytes than this takes",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}},
}


class BodySizes:
    """Answers 413 to a body that says it is too large, or turns out to be.

    Args:
        app: what answers to all others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http" or scope["path"] == PREDICT:
            await self._app(scope, receive, send)
            return
        limit = LABEL_STUDIO if scope["path"].startswith("/label-studio/") else ORDINARY
        request = Request(scope)
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said[:20]) > limit:
            answer = await answer_http(request, _too_large(limit))
            await answer(scope, receive, send)
        else:
            await self._app(scope, _counted(receive, limit), send)


def with_sizes(published: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI schema that says of every route with a body that it answers 413."""
    paths = {
        path: {method: _with_size(operation) for method, operation in item.items()}
        for path, item in published["paths"].items()
    }
    return {**published, "paths": paths}


def _with_size(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    if "requestBody" not in operation:
        return operation
    return {**operation, "responses": {"413": TOO_LARGE, **operation["responses"]}}


def _counted(receive: Receive, limit: int) -> Receive:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> HTTPException:
    said = f"a body may have {limit >> 20} MiB here, this one has more; send less"
    # what is left of the body would be read as the next request
    return HTTPException(413, said, headers={"Connection": "close"})
