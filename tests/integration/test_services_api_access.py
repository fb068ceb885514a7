"""Who is let in where, over every route that the API publishes."""

import base64
from datetime import timedelta
import re

from fastapi.testclient import TestClient
import pytest

from atlas import tokens
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import TokenRow
from atlas.tokens import Role
from atlas.types import utc_now
from services.api import create_app

API, NAMED = "/api/v1/", "/api/v1/projects/{project}/"
PICTURE = ("get", "/api/v1/images/{image_id}")  # its link is its permission
OPEN = {("get", "/healthz"), ("get", "/readyz"), PICTURE, ("post", "/label-studio/webhook")}
BRIDGE = {  # what Label Studio calls, with a token of its own
    ("get", "/label-studio/ml/health"),
    ("post", "/label-studio/ml/setup"),
    ("get", "/label-studio/ml/versions"),
    ("post", "/label-studio/ml/predict"),
}
PREDICT = ("post", "/api/v1/predict")  # a page elsewhere must not make this machine work
CHANGING = {
    ("post", "/api/v1/retrain"),
    ("post", "/api/v1/rollback"),
    ("post", "/api/v1/models/{model}/promote"),
    ("delete", "/api/v1/jobs/{job_id}"),
    ("put", "/api/v1/schedule"),
    ("put", "/api/v1/schedule/{kind}"),
    ("delete", "/api/v1/schedule/{kind}"),
    ("post", "/api/v1/query"),
}
BODIES = {
    "/retrain": {"kind": "heads"},
    "/query": {},
    "/schedule": {"heads": {"after_labels": 9}},
    "/schedule/heads": {"after_labels": 9},
    "/predict": {},
}


def client_of(project: Project, host: str) -> TestClient:
    change_setting(project.directory, "service", "host", host)
    return TestClient(create_app(project.directory), base_url="http://127.0.0.1")


@pytest.fixture
def here(empty_project: Project) -> TestClient:
    """On a loopback host, as `atlas up` serves."""
    return client_of(empty_project, "127.0.0.1")


@pytest.fixture
def abroad(empty_project: Project) -> TestClient:
    """On a host that other machines reach."""
    return client_of(empty_project, "0.0.0.0")


def token(project: Project, role: Role) -> str:
    with project.database.session() as session:
        return tokens.create(session, role, name="test").token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def routes(client: TestClient) -> list[tuple[str, str]]:
    published = client.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in published.items() for method in methods]


def without_name(route: tuple[str, str]) -> tuple[str, str]:
    """The same address without the project's name: both have the same rights."""
    return route[0], route[1].replace(NAMED, API)


def ask(client: TestClient, route: tuple[str, str], token: str = "") -> int:
    method, path = route
    own = client.app.state.project.settings.name  # type: ignore[attr-defined]
    path = path.replace("{project}", own)
    path = re.sub(r"\{\w+\}", "none", path.replace("{kind}", "heads"))
    headers = bearer(token) if token else {}
    body = BODIES.get(path.replace(f"/projects/{own}/", "/").removeprefix("/api/v1"))
    return client.request(method.upper(), path, headers=headers, json=body).status_code


def test_on_a_loopback_host_reading_is_open_and_changing_is_not(
    here: TestClient, empty_project: Project
) -> None:
    every = {*routes(here), ("get", "/")}
    assert every > CHANGING
    locked = {*CHANGING, *BRIDGE, PREDICT}
    for route in every:
        if without_name(route) not in OPEN:
            assert (ask(here, route) == 401) == (without_name(route) in locked), route
    for role in (Role.VIEWER, Role.ANNOTATOR_BRIDGE):
        given = token(empty_project, role)
        assert {ask(here, route, given) for route in CHANGING} == {403}
    given = token(empty_project, Role.ENGINEER)
    assert {route: ask(here, route, given) for route in CHANGING} == {
        ("post", "/api/v1/retrain"): 202,
        ("post", "/api/v1/rollback"): 422,  # no model yet
        ("post", "/api/v1/models/{model}/promote"): 404,
        ("delete", "/api/v1/jobs/{job_id}"): 404,
        ("put", "/api/v1/schedule"): 200,
        ("put", "/api/v1/schedule/{kind}"): 200,
        ("delete", "/api/v1/schedule/{kind}"): 200,
        ("post", "/api/v1/query"): 202,
    }


def test_on_any_other_host_reading_needs_a_viewer(
    abroad: TestClient, empty_project: Project
) -> None:
    every = {*routes(abroad), ("get", "/")}
    every = {route for route in every if without_name(route) not in OPEN}
    assert {ask(abroad, route) for route in every} == {401}
    given = token(empty_project, Role.ANNOTATOR_BRIDGE)
    assert {ask(abroad, route, given) for route in every - BRIDGE} == {403}
    for role in (Role.VIEWER, Role.ENGINEER):
        given = token(empty_project, role)
        reading = {one for one in every if without_name(one) not in {*CHANGING, *BRIDGE}}
        answered = {ask(abroad, route, given) for route in reading}
        assert answered == {200, 404, 422}  # 422: nothing is said of what to look at
        assert {ask(abroad, route, given) for route in BRIDGE} == {403}
    assert ask(abroad, ("get", "/healthz")) == 200


def test_the_published_api_says_which_routes_need_a_token(
    here: TestClient, abroad: TestClient
) -> None:
    for client, locked in (
        (here, {*CHANGING, *BRIDGE, PREDICT}),
        (abroad, {without_name(one) for one in routes(abroad)} - OPEN),
    ):
        paths = client.get("/openapi.json").json()["paths"]
        for method, path in routes(client):
            facts = paths[path][method]
            is_locked = without_name((method, path)) in locked
            assert ("security" in facts) == is_locked, (method, path)
            assert ("401" in facts["responses"]) == is_locked


@pytest.mark.parametrize("wrong", ["", "nonsense", "atlas_000000000000_" + 43 * "A"])
def test_a_token_that_does_not_hold_is_401(here: TestClient, wrong: str) -> None:
    answer = here.post("/api/v1/rollback", headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code == 401
    said = answer.headers["WWW-Authenticate"]
    assert said.startswith('Bearer realm="Atlas"')
    assert ('error="invalid_token"' in said) == bool(wrong)


def test_expired_and_revoked_tokens_are_401(here: TestClient, empty_project: Project) -> None:
    for column in ("expires_at", "revoked_at"):
        given = token(empty_project, Role.ENGINEER)
        assert ask(here, ("post", "/api/v1/rollback"), given) == 422
        with empty_project.database.session() as session:
            row = session.get_one(TokenRow, given.split("_")[1])
            setattr(row, column, utc_now() - timedelta(seconds=1))
        assert ask(here, ("post", "/api/v1/rollback"), given) == 401


def test_a_role_that_is_not_enough_is_403(here: TestClient, empty_project: Project) -> None:
    given = token(empty_project, Role.VIEWER)
    answer = here.post("/api/v1/rollback", headers=bearer(given))
    assert answer.status_code == 403
    assert answer.headers["WWW-Authenticate"].endswith('error="insufficient_scope"')
    assert answer.json()["detail"] == "this needs the role engineer; the token 'test' has viewer"


def test_a_browser_reads_with_the_token_as_password(
    abroad: TestClient, empty_project: Project
) -> None:
    asked = abroad.get("/")
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic ")
    given = token(empty_project, Role.ENGINEER)
    login = ("anybody", given)
    assert abroad.get("/", auth=login).status_code == 200
    assert abroad.get("/api/v1/status", auth=login).status_code == 200
    assert abroad.get("/", auth=("anybody", "guess")).status_code == 401
    # a browser sends a password by itself, so that changes nothing
    assert abroad.post("/api/v1/rollback", auth=login).status_code == 401


@pytest.mark.parametrize("form", ["Basic", "Basic ***", "Digest x", "Bearer", "\u00e9"])
def test_a_malformed_header_is_401(abroad: TestClient, form: str) -> None:
    assert abroad.get("/", headers={b"Authorization": form.encode()}).status_code == 401


def test_a_password_that_is_no_text_is_401(abroad: TestClient) -> None:
    form = b"Basic " + base64.b64encode(b"a:\xff\x00")
    assert abroad.get("/", headers={b"Authorization": form}).status_code == 401
