"""`atlas token create`, `list` and `revoke`."""

from typing import Annotated

import typer

from atlas import tokens
from atlas.cli import options
from atlas.cli.output import Json, emit, say, stdout, table
from atlas.project import Project

MAX_DAYS = 36_500


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Who may use the web API.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_tokens)
    group.command("revoke")(revoke)
    app.add_typer(group, name="token")


def create(
    directory: options.Directory,
    role: Annotated[tokens.Role, typer.Option(help="What it may do.", show_default=False)],
    name: Annotated[str, typer.Option(help="For whom or what, to know it by.")] = "",
    days: Annotated[
        int | None, typer.Option(help="How long it holds; else until revoked.", min=1, max=MAX_DAYS)
    ] = None,
    json: Json = False,
) -> None:
    """Make a token and show it, this once."""
    with Project(directory).database.session() as session:
        made = tokens.create(session, role, name=name, days=days)
    if json:
        until = made.expires_at.isoformat() if made.expires_at else None
        emit({"id": made.id, "role": role.value, "expires_at": until, "token": made.token})
        return
    say("keep it safe: it is stored hashed and cannot be shown again")
    stdout.print(made.token, soft_wrap=True)


def list_tokens(directory: options.Directory, json: Json = False) -> None:
    """Every token, the newest first, without its secret."""
    with Project(directory).database.reader() as session:
        found = [
            {
                "id": row.id,
                "name": row.name,
                "role": row.role,
                "state": tokens.state_of(row),
                "created_at": row.created_at.isoformat(),
                "expires_at": row.expires_at.isoformat() if row.expires_at else None,
            }
            for row in tokens.listed(session)
        ]
    if json:
        emit(found)
        return
    rows = [
        [
            *(str(one[key]) for key in ("id", "name", "role", "state")),
            *(str(one[key] or "never")[:10] for key in ("created_at", "expires_at")),  # the day
        ]
        for one in found
    ]
    table(["id", "name", "role", "state", "made", "expires"], rows, words=6)


def revoke(
    directory: options.Directory,
    token: Annotated[str, typer.Argument(help="Its id; see `atlas token list`.")],
    json: Json = False,
) -> None:
    """Refuse a token from now on."""
    with Project(directory).database.session() as session:
        tokens.revoke(session, token)
    if json:
        emit({"id": token, "state": "revoked"})
    else:
        stdout.print(f"{token} is refused from now on")
