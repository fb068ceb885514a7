"""Who is let in: bearer tokens for what changes something, and for reading from other machines.

On a loopback host everything that only reads is open, as everyone who can reach it has an account
on this machine. What changes something needs an engineer's token even there: a page that a browser
on this machine has open can send requests here, and only a header it does not know stops it.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import HTTPException, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import (
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
)
from starlette.concurrency import run_in_threadpool

from atlas.project import Project
from atlas.tokens import Holder, Role, identify

LOOPBACK = ("127.0.0.1", "localhost", "::1")
BEARER = 'Bearer realm="Atlas"'
BASIC = 'Basic realm="Atlas", charset="UTF-8"'  # a browser answers this one by asking its user

_bearer = HTTPBearer(auto_error=False, description="Made by `atlas token create`.")
_basic = HTTPBasic(
    auto_error=False,
    realm="Atlas",
    description="For reading in a browser: any user name, the token as password.",
)

Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
Basic = Annotated[HTTPBasicCredentials | None, Security(_basic)]


def is_open_for_reading(project: Project) -> bool:
    """Whether reading needs no token: only this machine can reach the API."""
    return project.settings.service.host in LOOPBACK


def needs(role: Role) -> Callable[..., Holder]:
    """A dependency that lets in bearer tokens with this role, or one that includes it.

    It answers 401 without a token or with one that is unknown, expired or revoked, 403 where its
    role is not enough (RFC 6750, section 3.1).
    """

    def holder(request: Request, given: Bearer) -> Holder:
        return _admit(request, given.credentials if given else "", role, BEARER)

    return holder


def _nobody(_request: Request) -> Holder | None:
    return None


def reading(
    challenge: str = BEARER, *, signed_in: Callable[[Request], Holder | None] = _nobody
) -> Callable[..., Holder]:
    """A dependency that lets in viewers, by a bearer token or as the password of a browser.

    Or whom `signed_in` knows: who signed in on the dashboard.

    A browser adds a password by itself to whatever page sends the request, so a password serves
    for reading alone.
    """

    def holder(request: Request, bearer: Bearer, basic: Basic) -> Holder:
        given = bearer.credentials if bearer else basic.password if basic else ""
        known = None if given else signed_in(request)
        if known is not None and known.may(Role.VIEWER):
            return known
        return _admit(request, given, Role.VIEWER, challenge)

    return holder


def bridge(request: Request, bearer: Bearer, basic: Basic) -> Holder:
    """A dependency that lets in what stands between Atlas and an annotation tool.

    Label Studio sends a user name and a password; the token is the password.
    """
    given = bearer.credentials if bearer else basic.password if basic else ""
    return _admit(request, given, Role.ANNOTATOR_BRIDGE, BASIC)


async def bridge_first(request: Request) -> None:
    """`bridge` for `first`."""
    await run_in_threadpool(bridge, request, await _bearer(request), await _basic(request))


def first(check: Callable[[Request], Awaitable[None]]) -> type[APIRoute]:
    """A class of routes that ask `check` before the body is read.

    FastAPI asks its dependencies afterwards, when a large body of a stranger is in memory already.
    """

    class First(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                await check(request)
                return await handle(request)

            return checked

    return First


engineer = needs(Role.ENGINEER)
Engineer = Annotated[Holder, Security(engineer)]


def _admit(request: Request, token: str, role: Role, challenge: str) -> Holder:
    if not token:
        raise _refused(401, f"this needs a token with the role {role}", challenge)
    project: Project = request.app.state.project
    with project.database.reader() as session:
        holder = identify(session, token)
    if holder is None:
        said = "the token is unknown, expired or revoked; make one with `atlas token create`"
        raise _refused(401, said, _with_error(challenge, "invalid_token"))
    if not holder.may(role):
        said = f"this needs the role {role}; the token {holder.name!r} has {holder.role}"
        raise _refused(403, said, _with_error(challenge, "insufficient_scope"))
    return holder


def _with_error(challenge: str, code: str) -> str:
    return f'{challenge}, error="{code}"' if challenge == BEARER else challenge


def _refused(status: int, said: str, challenge: str) -> HTTPException:
    return HTTPException(status, said, headers={"WWW-Authenticate": challenge})
