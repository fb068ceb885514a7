"""Tokens: made, recognised, refused, listed and revoked, on a real database."""

from datetime import timedelta
import hashlib
import json
from pathlib import Path

import pytest

from atlas import tokens
from atlas.cli import main
from atlas.errors import ServiceError
from atlas.project import Project
from atlas.store.database import Database
from atlas.store.tables import TokenRow
from atlas.tokens import Created, Holder, Role
from atlas.types import utc_now


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'atlas.db'}")


def make(database: Database, role: Role = Role.VIEWER, days: int | None = None) -> Created:
    with database.session() as session:
        return tokens.create(session, role, name="lab", days=days)


def whose(database: Database, token: str, days_later: float = 0.0) -> Holder | None:
    with database.reader() as session:
        return tokens.identify(session, token, now=utc_now() + timedelta(days=days_later))


def test_a_token_speaks_for_its_holder(database: Database) -> None:
    made = make(database, Role.ENGINEER)
    assert whose(database, made.token) == Holder(made.id, "lab", Role.ENGINEER)


def test_the_secret_is_256_random_bits_and_kept_nowhere(database: Database, tmp_path: Path) -> None:
    first, second = make(database), make(database)
    secret = first.token.split("_", 2)[2]
    assert secret != second.token.split("_", 2)[2]
    assert len(secret) == 43  # 43 characters of 6 bits hold 256 bits, and 42 do not
    with database.reader() as session:
        row = session.get_one(TokenRow, first.id)
    assert row.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_what_is_not_exactly_a_token_is_nobodys(database: Database) -> None:
    made, other = make(database), make(database)
    head, secret = made.token[:-43], made.token[-43:]
    turned = ("B" if secret[0] == "A" else "A") + secret[1:]
    wrong = ("", "atlas", secret, head, head + turned, made.token + "A", made.token + "\n")
    for token in (*wrong, other.token[:-43] + secret, "atlas_" + 12 * "0" + "_" + secret, "\0é"):
        assert whose(database, token) is None


def test_an_empty_secret_is_nobodys(database: Database) -> None:
    made = make(database)
    assert whose(database, f"atlas_{made.id}_") is None


def test_it_holds_until_its_last_day_is_over(database: Database) -> None:
    made = make(database, days=2)
    assert made.expires_at is not None
    assert whose(database, made.token, days_later=1.99) is not None
    assert whose(database, made.token, days_later=2.01) is None
    assert whose(database, make(database).token, days_later=10_000) is not None


def test_a_revoked_token_is_refused(database: Database) -> None:
    made, other = make(database), make(database)
    for _ in range(2):  # again changes nothing
        with database.session() as session:
            tokens.revoke(session, made.id)
    assert whose(database, made.token) is None
    assert whose(database, other.token) is not None


def test_an_unknown_token_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(ServiceError, match="no token 'x'; known: none yet"):
        with database.session() as session:
            tokens.revoke(session, "x")
    made = make(database)
    with pytest.raises(ServiceError, match=f"known: {made.id}"):
        with database.session() as session:
            tokens.revoke(session, "x")


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.ENGINEER, {Role.ENGINEER, Role.VIEWER}),
        (Role.VIEWER, {Role.VIEWER}),
        (Role.ANNOTATOR_BRIDGE, {Role.ANNOTATOR_BRIDGE}),
    ],
)
def test_an_engineer_may_do_what_a_viewer_may(role: Role, may: set[Role]) -> None:
    assert {one for one in Role if Holder("id", "name", role).may(one)} == may


def test_the_commands(
    empty_project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["atlas", "token", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    folder, database = empty_project.directory, empty_project.database
    code, token, said = run("create", folder, "--role", "engineer", "--name", "[ci]", "--days", 30)
    assert (code, "cannot be shown again" in said) == (0, True)
    holder = whose(database, token.removesuffix("\n"))  # alone on stdout: TOKEN=$(atlas token …)
    assert holder is not None
    assert (holder.name, holder.role) == ("[ci]", Role.ENGINEER)
    other = json.loads(run("create", folder, "--role", "viewer", "--json")[1])
    assert other["expires_at"] is None
    assert run("revoke", folder, holder.id)[0] == 0
    listed = run("list", folder, "--json")[1]
    assert token[-44:-1] not in listed
    newest, oldest = json.loads(listed)
    assert (newest["name"], newest["state"]) == (other["id"], "valid")
    assert (oldest["name"], oldest["state"]) == ("[ci]", "revoked")
    assert "[ci]" in run("list", folder)[1]
    code, _, said = run("revoke", folder, "nobody")
    assert (code, "no token 'nobody'" in said) == (2, True)
    assert run("create", folder, "--role", "admin")[0] == 2
    assert run("create", folder, "--role", "viewer", "--days", 0)[0] == 2
