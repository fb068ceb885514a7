"""Addresses that name the project: `/api/v1/projects/{project}/accuracy` is `/api/v1/accuracy`.

One server serves one project, so a name is not needed. Whoever talks to several servers may still
put it into every address, and is told where it is the wrong server.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.sizes import with_sizes

API = "/api/v1/"
PREFIX = f"{API}projects/"
WRONG_SERVER = "not the project of this server"

Json = dict[str, Any]

PARAMETER: Json = {
    "name": "project",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "The project's name, `name` in `/api/v1/status`.",
}
NOT_HERE: Json = {
    "description": "No such thing, or another project's name",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}},
}


class ProjectPaths:
    """Answers `/api/v1/projects/{project}/…` as `/api/v1/…`, 404 where the name is another's.

    Args:
        app: what answers.
        name: the project's.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app, self._name = app, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        path: str = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        own = f"{PREFIX}{self._name}/"
        if not path.startswith(own):
            # which one it has is for those with a token, `GET /api/v1/status`
            await JSONResponse({"detail": WRONG_SERVER}, 404)(scope, receive, send)
            return
        inner = API + path.removeprefix(own)
        await self._app({**scope, "path": inner, "raw_path": quote(inner).encode()}, receive, send)


class Api(FastAPI):
    """An application that publishes its limits, and its addresses with the project's name too."""

    def openapi(self) -> Json:
        """The published schema; every path of the API stands in it twice."""
        return with_names(with_sizes(super().openapi()))


def with_names(published: Mapping[str, Any]) -> Json:
    """An OpenAPI schema, and each path of the API once more as `ProjectPaths` answers it."""
    named = {
        f"{PREFIX}{{project}}/{path.removeprefix(API)}": {
            method: _named(operation) for method, operation in item.items()
        }
        for path, item in published["paths"].items()
        if path.startswith(API)
    }
    return {**published, "paths": {**published["paths"], **named}}


def _named(operation: Mapping[str, Any]) -> Json:
    return {
        **operation,
        "operationId": f"{operation['operationId']}_of_project",
        "parameters": [PARAMETER, *operation.get("parameters", ())],
        "responses": {**operation["responses"], "404": NOT_HERE},
    }
