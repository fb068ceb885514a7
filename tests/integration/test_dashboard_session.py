"""Signing in to the pages, and what a form needs to change something."""

from collections.abc import Iterator
from datetime import timedelta

from fastapi import Request
from fastapi.testclient import TestClient
import pytest

from atlas import tokens
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import ScheduleRow, TokenRow
from atlas.tokens import Role
from atlas.types import utc_now
from services.api import create_app
from services.dashboard.session import HOLDS, cookie_name, signed_in
from tests.dashboard_support import FORM, form_token, send, sign_in, token

FIELDS = {"after_labels": "50"}


@pytest.fixture
def client(empty_project: Project) -> Iterator[TestClient]:
    with TestClient(create_app(empty_project.directory), base_url="http://127.0.0.1") as client:
        yield client


def is_scheduled(project: Project) -> bool:
    with project.database.reader() as session:
        return session.get(ScheduleRow, "heads") is not None


def test_an_engineer_signs_in_changes_something_and_signs_out(
    client: TestClient, empty_project: Project
) -> None:
    assert form_token(client, "/schedule") == ""
    answer = client.post(
        "/sign-in", data={"token": token(empty_project), "next": "/jobs"}, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age=43200" in cookie
    assert "Secure" not in cookie  # over plain HTTP the browser would drop it
    assert "Signed in as <b>Ada</b>" in client.get("/").text
    answered = send(client, "/schedule/heads", "/schedule", **FIELDS)
    assert answered == (303, "/schedule?done=scheduled")
    assert is_scheduled(empty_project)
    assert client.post("/sign-out", follow_redirects=False).status_code == 303
    assert "Signed in as" not in client.get("/").text


def test_the_cookie_does_not_hold_the_secret(client: TestClient, empty_project: Project) -> None:
    given = token(empty_project)
    sign_in(client, given)
    assert given.split("_")[2] not in client.cookies[cookie_name(empty_project)]


def test_over_tls_the_cookie_is_secure(empty_project: Project) -> None:
    app = create_app(empty_project.directory)
    with TestClient(app, base_url="https://127.0.0.1") as client:
        answer = client.post(
            "/sign-in", data={"token": token(empty_project)}, follow_redirects=False
        )
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("given", ["", "guess", "atlas_000000000000_" + 43 * "A"])
def test_a_token_that_does_not_hold_signs_nobody_in(client: TestClient, given: str) -> None:
    answer = client.post("/sign-in", data={"token": given})
    assert answer.status_code == 401
    assert "unknown, expired or revoked" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_bridge_has_no_pages(client: TestClient, empty_project: Project) -> None:
    assert sign_in(client, token(empty_project, Role.ANNOTATOR_BRIDGE)) == 401


def test_a_viewer_reads_and_changes_nothing(client: TestClient, empty_project: Project) -> None:
    sign_in(client, token(empty_project, Role.VIEWER))
    assert form_token(client, "/jobs") == ""  # no buttons
    given = client.get("/schedule").text.split(f'name="{FORM}" value="')[1].split('"')[0]
    answer = client.post("/schedule/heads", data={FORM: given, **FIELDS})
    assert answer.status_code == 403
    assert "needs the role engineer" in answer.text
    assert not is_scheduled(empty_project)


def test_a_form_without_its_token_is_refused(client: TestClient, empty_project: Project) -> None:
    sign_in(client, token(empty_project))
    for fields in (FIELDS, {**FIELDS, FORM: "guess"}, {**FIELDS, FORM: "gu\u00e9ss"}):
        assert client.post("/schedule/heads", data=fields).status_code == 403
    assert not is_scheduled(empty_project)


def test_the_form_of_another_site_is_refused(client: TestClient, empty_project: Project) -> None:
    sign_in(client, token(empty_project))
    data = {**FIELDS, FORM: form_token(client, "/schedule")}
    for origin in ("http://elsewhere.example", "http://127.0.0.1:8080", "null"):
        answer = client.post("/schedule/heads", data=data, headers={"Origin": origin})
        assert answer.status_code == 403, origin
    assert not is_scheduled(empty_project)
    own = client.post("/schedule/heads", data=data, headers={"Origin": "http://127.0.0.1"})
    assert own.status_code == 200  # after the redirect


def test_nobody_is_sent_to_the_sign_in(client: TestClient) -> None:
    answer = client.post(
        "/schedule/heads",
        data=FIELDS,
        headers={"Referer": "http://127.0.0.1/schedule"},
        follow_redirects=False,
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/schedule")


def test_a_revoked_token_ends_its_session(client: TestClient, empty_project: Project) -> None:
    given = token(empty_project)
    sign_in(client, given)
    with empty_project.database.session() as session:
        tokens.revoke(session, given.split("_")[1])
    assert "Signed in as" not in client.get("/").text


def test_a_session_ends_by_itself_and_cannot_be_forged(
    client: TestClient, empty_project: Project
) -> None:
    given = token(empty_project)
    sign_in(client, given)
    name = cookie_name(empty_project)
    cookie = client.cookies[name].strip('"')
    assert holder(client, name, cookie)
    assert not holder(client, name, cookie, later=HOLDS)
    token_id, until, nonce, signature = cookie.split(".")
    forged = f"{token_id}.{int(until) + 9}.{nonce}.{signature}"
    for value in (forged, "", ".", "a.b.c.d", cookie[:-1]):
        assert not holder(client, name, value)
    with empty_project.database.session() as session:
        session.get_one(TokenRow, token_id).expires_at = utc_now()
    assert not holder(client, name, cookie)


def holder(client: TestClient, name: str, value: str, *, later: timedelta = timedelta()) -> bool:
    """Whether a browser with that cookie is signed in."""
    scope = {
        "type": "http",
        "app": client.app,
        "headers": [(b"cookie", f"{name}={value}".encode())],
    }
    return signed_in(Request(scope), now=utc_now() + later) is not None


@pytest.mark.parametrize(
    "target", ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere", "", "/a\nb"]
)
def test_signing_in_leads_nowhere_else(
    client: TestClient, empty_project: Project, target: str
) -> None:
    data = {"token": token(empty_project), "next": target}
    answer = client.post("/sign-in", data=data, follow_redirects=False)
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=1&" * 300, b"a=" + b"x" * 70_000])
def test_what_is_no_form_of_ours_is_refused(client: TestClient, body: bytes) -> None:
    assert client.post("/sign-in", content=body).status_code == 400


def test_on_another_host_the_cookie_lets_a_viewer_in(empty_project: Project) -> None:
    change_setting(empty_project.directory, "service", "host", "0.0.0.0")
    client = TestClient(create_app(empty_project.directory), base_url="http://atlas.example")
    assert client.get("/").status_code == 401
    assert client.get("/sign-in").status_code == 200
    assert sign_in(client, token(empty_project, Role.VIEWER)) == 303
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/status").status_code == 200
    # a cookie changes nothing through the API: other programs on a host share its cookies
    assert client.post("/api/v1/rollback").status_code == 401
