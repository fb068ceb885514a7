"""Addresses that name the project: `/api/v1/projects/{name}/accuracy` is `/api/v1/accuracy`.

One server serves one project, so a name is not needed. Whoever talks to several servers may still
put it into every address, and is told where it is the wrong server.
"""

from urllib.parse import quote

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

API = "/api/v1/"
PREFIX = f"{API}projects/"


class ProjectPaths:
    """Answers `/api/v1/projects/{name}/…` as `/api/v1/…`, and 404 where the name is another's.

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
            await JSONResponse({"error": "not the project of this server"}, 404)(
                scope, receive, send
            )
            return
        inner = API + path.removeprefix(own)
        await self._app({**scope, "path": inner, "raw_path": quote(inner).encode()}, receive, send)
