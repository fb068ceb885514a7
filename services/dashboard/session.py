"""Signing in to the pages: an engineer's token becomes a cookie, so that forms can change things.

The cookie names the token, not its secret, and is signed. A browser adds it by itself to whatever
this host is sent, and pages of other programs on this machine count as the same site, so every form
carries a token of its own that only our pages can read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
import hashlib
import hmac
import secrets
from typing import Annotated
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import Depends, HTTPException, Request, Response

from atlas.project import Project
from atlas.store.tables import TokenRow
from atlas.tokens import Holder, Role, state_of
from atlas.types import utc_now

HOLDS = timedelta(hours=12)
SECRET = "session_secret"
SIGN_IN = "/sign-in"
MAX_FORM_BYTES = 65_536
MAX_FIELDS = 200


@dataclass(frozen=True)
class SignedIn:
    """Who looks at the page, and what its forms have to carry."""

    holder: Holder
    form_token: str

    @property
    def may_change(self) -> bool:
        """Whether buttons work for them."""
        return self.holder.may(Role.ENGINEER)


@dataclass(frozen=True)
class Form:
    """What an engineer sent from a page of ours."""

    by: Holder
    fields: Mapping[str, str]

    def text(self, name: str) -> str:
        """A field without the blanks around it; "" where it is not there."""
        return self.fields.get(name, "").strip()


def cookie_name(project: Project) -> str:
    """Cookies know no port: two projects on one machine would share a name."""
    digest = hashlib.sha256(str(project.directory).encode()).hexdigest()
    return f"atlas_session_{digest[:8]}"


def begin(response: Response, request: Request, holder: Holder) -> None:
    """Let the browser stay signed in."""
    project: Project = request.app.state.project
    until = int((utc_now() + HOLDS).timestamp())
    facts = f"{holder.id}.{until}.{secrets.token_urlsafe(12)}"
    response.set_cookie(
        cookie_name(project),
        f"{facts}.{_signature(project, 'session', facts)}",
        max_age=int(HOLDS.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def end(response: Response, request: Request) -> None:
    """Let the browser forget."""
    response.delete_cookie(cookie_name(request.app.state.project), httponly=True, samesite="strict")


def signed_in(request: Request, *, now: datetime | None = None) -> SignedIn | None:
    """Who is signed in; None without a cookie that holds, or where its token no longer does."""
    project: Project = request.app.state.project
    value = request.cookies.get(cookie_name(project), "")
    facts, _, signature = value.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(project, "session", facts).encode()):
        return None
    token_id, until, _ = facts.split(".", 2)
    if float(until) <= (now or utc_now()).timestamp():
        return None
    with project.database.reader() as session:
        row = session.get(TokenRow, token_id)
        if row is None or state_of(row, now=now) != "valid":
            return None
        holder = Holder(row.id, row.name, Role(row.role))
    return SignedIn(holder, _signature(project, "form", value))


def holder_of(request: Request) -> Holder | None:
    """Whose token the browser is signed in with; None: nobody's."""
    by = signed_in(request)
    return by.holder if by else None


async def fields_of(request: Request) -> dict[str, str]:
    """What a form of ours sent; a field that comes twice counts once, the last.

    Raises:
        HTTPException: another site's form, or one that is too large or no text.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, f"forms of {origin} are not taken here")
    body = await request.body()
    try:
        if len(body) > MAX_FORM_BYTES:
            raise ValueError("too large")
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise HTTPException(400, f"not a form of these pages: {error}") from error
    return {name: values[-1] for name, values in found.items()}


def form_of_engineer(
    request: Request, fields: Annotated[dict[str, str], Depends(fields_of)]
) -> Form:
    """A dependency of every route that a page's form changes something with.

    Raises:
        HTTPException: 303 to the sign-in where nobody is; 403 with another role, or without the
            token that our pages put into their forms.
    """
    by = signed_in(request)
    if by is None:
        came_from = urlsplit(request.headers.get("referer", "")).path or "/"
        raise HTTPException(303, headers={"Location": f"{SIGN_IN}?next={quote(came_from)}"})
    given = fields.get("form_token", "")
    if not hmac.compare_digest(given.encode(), by.form_token.encode()):
        raise HTTPException(403, "this form is out of date; reload the page and try again")
    if not by.may_change:
        said = f"this needs the role {Role.ENGINEER}; {by.holder.name!r} has {by.holder.role}"
        raise HTTPException(403, said)
    return Form(by.holder, fields)


EngineerForm = Annotated[Form, Depends(form_of_engineer)]


def _signature(project: Project, purpose: str, text: str) -> str:
    key = project.secret(SECRET).encode()
    return hmac.new(key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()
