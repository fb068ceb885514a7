"""A body that is too large is refused before it is read, and a stranger's large one too."""

import asyncio
from collections.abc import Iterator
import json
from typing import Any

from fastapi.testclient import TestClient
import pytest

from atlas.project import Project
from atlas.settings_file import change_setting
from services.api import create_app
from services.api.sizes import LABEL_STUDIO, ORDINARY
from tests.api_support import client_of

PART = 2**16
JSON = (b"content-type", b"application/json")
WEBHOOK, ML = "/label-studio/webhook", "/label-studio/ml/predict"


@pytest.fixture
def client(empty_project: Project) -> Iterator[TestClient]:
    with client_of(empty_project) as client:
        yield client


def send(app: Any, path: str, *headers: tuple[bytes, bytes], method: str = "POST") -> Any:
    """A body without end: the status, the answer, and how many bytes of it were taken."""
    sent: list[dict[str, Any]] = []
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += PART
        assert taken < 2 * LABEL_STUDIO, "it reads without end"
        return {"type": "http.request", "body": PART * b" ", "more_body": True}

    async def answer(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), JSON, *headers],
    }
    asyncio.run(app(scope, receive, answer))
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:]), taken


def secret(project: Project) -> tuple[bytes, bytes]:
    return b"x-atlas-secret", project.secret("webhook_secret").encode()


def test_a_strangers_body_is_not_read(client: TestClient) -> None:
    for path in (WEBHOOK, ML):
        status, said, taken = send(client.app, path)
        assert (status, taken) == (403 if path == WEBHOOK else 401, 0), said


def test_a_body_without_end_is_left_at_the_limit(
    client: TestClient, empty_project: Project
) -> None:
    for path, headers, limit in (
        ("/api/v1/retrain", (), ORDINARY),
        (f"/api/v1/projects/{empty_project.settings.name}/retrain", (), ORDINARY),
        (WEBHOOK, (secret(empty_project),), LABEL_STUDIO),
        ("/sign-in", (), ORDINARY),
    ):
        status, said, taken = send(client.app, path, *headers)
        assert (status, json.loads(said)) == (
            413,
            {"detail": f"a body may have {limit >> 20} MiB here, this one has more; send less"},
        )
        assert taken == limit + PART


def test_what_says_that_it_is_too_large_is_not_read(client: TestClient) -> None:
    for said, wanted in ((b"1048577", 413), (b"99999999999999999999999", 413)):
        status, _, taken = send(client.app, "/api/v1/retrain", (b"content-length", said))
        assert (status, taken) == (wanted, 0)


def test_a_form_that_is_too_large_is_a_page(client: TestClient) -> None:
    headers = (b"content-length", b"9999999"), (b"accept", b"text/html")
    status, said, _ = send(client.app, "/sign-in", *headers)
    assert (status, b"body may have 1 MiB here" in said, b"<html" in said) == (413, True, True)


def test_a_large_body_of_label_studio_is_taken(client: TestClient, empty_project: Project) -> None:
    payload = {"action": "PROJECT_UPDATED", "project": {"label_config": 2 * ORDINARY * "x"}}
    given = {"X-Atlas-Secret": empty_project.secret("webhook_secret")}
    assert client.post(WEBHOOK, json=payload, headers=given).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_every_route_with_a_body_publishes_it(empty_project: Project, host: str) -> None:
    change_setting(empty_project.directory, "service", "host", host)
    app = create_app(empty_project.directory)
    found = {
        path: "413" in operation["responses"]
        for path, methods in app.openapi()["paths"].items()
        for operation in methods.values()
        if "requestBody" in operation
    }
    assert len(found) > 10
    assert all(found.values()), found
