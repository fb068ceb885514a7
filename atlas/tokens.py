"""Bearer tokens: who may ask the web API for what.

A token is `atlas_<id>_<secret>`. The id is public and finds the row; of the secret only the SHA-256
is kept. A slow hash (argon2, scrypt) protects what people choose, because that can be guessed: this
secret is 256 random bits, so trying all of them is hopeless whatever one try costs.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
import hashlib
import hmac
import re
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from atlas.errors import ServiceError
from atlas.store.tables import TokenRow
from atlas.types import utc_now

ID_BYTES = 6
SECRET_BYTES = 32
FORM = re.compile(r"atlas_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
NOBODY = hashlib.sha256(b"").hexdigest()  # compared with where there is no row: no secret is empty


class Role(StrEnum):
    """What a token may be used for."""

    ANNOTATOR_BRIDGE = "annotator-bridge"
    ENGINEER = "engineer"
    VIEWER = "viewer"


MAY = {
    Role.ANNOTATOR_BRIDGE: frozenset({Role.ANNOTATOR_BRIDGE}),
    Role.ENGINEER: frozenset({Role.ENGINEER, Role.VIEWER}),
    Role.VIEWER: frozenset({Role.VIEWER}),
}


@dataclass(frozen=True)
class Holder:
    """Whom a token speaks for.

    Attributes:
        id: of the token.
        name: that it was given.
        role: what it may do.
    """

    id: str
    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this is enough where `role` is needed."""
        return role in MAY[self.role]


@dataclass(frozen=True)
class Created:
    """A new token: `token` is shown once and cannot be shown again."""

    id: str
    token: str
    expires_at: datetime | None


def create(session: Session, role: Role, *, name: str = "", days: int | None = None) -> Created:
    """Make a token.

    Args:
        session: an open transaction.
        role: what it may do.
        name: for whom or what; the token's id where empty.
        days: how long it holds, 1 or more; None: until it is revoked.
    """
    token_id, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    now = utc_now()
    expires_at = None if days is None else now + timedelta(days=days)
    row = TokenRow(
        id=token_id,
        name=name or token_id,
        role=role.value,
        sha256=_digest(secret),
        created_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    return Created(token_id, f"atlas_{token_id}_{secret}", expires_at)


def identify(session: Session, token: str, *, now: datetime | None = None) -> Holder | None:
    """Whom a token speaks for; None where it is unknown, expired or revoked."""
    form = FORM.fullmatch(token)
    if form is None:
        return None
    token_id, secret = form.groups()
    row = session.get(TokenRow, token_id)
    right = hmac.compare_digest(_digest(secret), NOBODY if row is None else row.sha256)
    if row is None or not right or state_of(row, now=now) != "valid":
        return None
    return Holder(row.id, row.name, Role(row.role))


def state_of(row: TokenRow, *, now: datetime | None = None) -> str:
    """One of "valid", "expired", "revoked"."""
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is not None and row.expires_at <= (now or utc_now()):
        return "expired"
    return "valid"


def revoke(session: Session, token_id: str) -> None:
    """Refuse a token from now on; one that is revoked already stays as it is.

    Raises:
        ServiceError: no such token.
    """
    row = session.get(TokenRow, token_id)
    if row is None:
        known = ", ".join(session.scalars(select(TokenRow.id).order_by(TokenRow.created_at)))
        raise ServiceError(f"no token {token_id!r}; known: {known or 'none yet'}")
    if row.revoked_at is None:
        row.revoked_at = utc_now()


def listed(session: Session) -> list[TokenRow]:
    """Every token, the newest first."""
    return list(session.scalars(select(TokenRow).order_by(TokenRow.created_at.desc())))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
