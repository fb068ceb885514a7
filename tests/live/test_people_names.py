"""Names of annotators, as a real Label Studio tells them."""

from collections.abc import Callable
import json
from typing import Any

import httpx
import pytest

from atlas.analysis.names import names
from atlas.labels import record
from atlas.oracle._people import learn_people
from atlas.project import Project
from atlas.settling import NEWCOMERS
from atlas.store.tables import Meta, PersonRow
from atlas.types import Annotation, utc_now
from tests.live.conftest import Server, open_round

pytestmark = [pytest.mark.live, pytest.mark.slow]


def test_who_answered_gets_a_name_and_nobody_else(
    make_project: Callable[..., Project], server: Server
) -> None:
    project = make_project()
    learn_people(project)  # nobody answered: no name is stored
    me, admin = (whoami(server, login.token) for login in (server.annotator, server.admin))
    person = f"ls:{me['id']}"
    (query, *_) = open_round(project, 1, [0, 1])
    given = Annotation("ls:1", query.uid, "submitted", utc_now(), {"label": "top/shirt"}, person)
    with project.database.session() as session:
        record(session, [given], received_by="poll", taxonomy=project.taxonomy)
    learn_people(project)
    assert names(project)(person) == server.annotator.email
    assert person in newcomers(project) and f"ls:{admin['id']}" not in newcomers(project)
    with project.database.reader() as session:
        assert [row.id for row in session.query(PersonRow)] == [person]  # and not the admin
    rename(server, me["id"], "Ann", "Lee")
    try:
        learn_people(project)
        assert names(project)(person) == "Ann Lee"
    finally:
        rename(server, me["id"], "", "")


def whoami(server: Server, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Token {token}"}
    address = f"{server.url}/api/current-user/whoami"
    found: dict[str, Any] = httpx.get(address, headers=headers, trust_env=False).json()
    return found


def newcomers(project: Project) -> set[str]:
    with project.database.reader() as session:
        return set(json.loads(session.get_one(Meta, NEWCOMERS).value))


def rename(server: Server, number: int, first: str, last: str) -> None:
    headers = {"Authorization": f"Token {server.admin.token}"}
    address = f"{server.url}/api/users/{number}"
    fields = {"first_name": first, "last_name": last}
    httpx.patch(address, json=fields, headers=headers, trust_env=False).raise_for_status()
