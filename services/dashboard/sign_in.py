"""The page that takes a token, and what it leads to."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from atlas import tokens
from atlas.project import Project
from services.dashboard import session
from services.dashboard.rendering import render

router = APIRouter(include_in_schema=False)


@router.get(session.SIGN_IN)
def ask(request: Request) -> Response:
    """The form."""
    return _page(request, request.query_params.get("next", "/"))


@router.post(session.SIGN_IN)
def take(
    request: Request, fields: Annotated[dict[str, str], Depends(session.fields_of)]
) -> Response:
    """Sign in with a token, and go on to where the reader came from."""
    project: Project = request.app.state.project
    with project.database.reader() as reader:
        holder = tokens.identify(reader, fields.get("token", "").strip())
    target = fields.get("next", "/")
    if holder is None:
        return _page(request, target, wrong="This token is unknown, expired or revoked.")
    if not holder.may(tokens.Role.VIEWER):
        return _page(
            request, target, wrong=f"A token with the role {holder.role} is not for pages."
        )
    answer = RedirectResponse(_local(target), status_code=303)
    session.begin(answer, request, holder)
    return answer


@router.post("/sign-out")
def leave(
    request: Request, fields: Annotated[dict[str, str], Depends(session.fields_of)]
) -> Response:
    """Sign out; needs nothing, as it takes nothing away that the token does not give back."""
    answer = RedirectResponse(_local(fields.get("next", "/")), status_code=303)
    session.end(answer, request)
    return answer


def _page(request: Request, target: str, *, wrong: str = "") -> Response:
    values = {"next": _local(target), "wrong": wrong}
    return render(request, "sign_in.html.j2", status_code=401 if wrong else 200, **values)


def _local(target: str) -> str:
    """A path of ours: a link to the sign-in must not lead on to somewhere else."""
    is_path = target.startswith("/") and not target.startswith("//") and target.isprintable()
    return target if is_path and "\\" not in target else "/"
