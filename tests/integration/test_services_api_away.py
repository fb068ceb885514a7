"""The web API while its database is away, on a PostgreSQL that is stopped and started again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
import pytest

from atlas.project import Project
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy
from services.api.away import SAID
from tests.api_support import client_of
from tests.servers import Postgres, find_postgres

WEBHOOK = "/label-studio/webhook"
READ = ("/api/v1/status", "/api/v1/accuracy", "/api/v1/jobs", "/metrics")


@pytest.fixture
def server() -> Iterator[Postgres]:
    """One of its own, as it is stopped."""
    server = Postgres(find_postgres())
    yield server
    server.remove()


@pytest.fixture
def stored(
    server: Postgres, settings: Settings, taxonomy: Taxonomy, tmp_path: Path
) -> Iterator[Project]:
    store = settings.store.model_copy(update={"url": server.new_database()})
    own = settings.model_copy(update={"store": store})
    project = Project.create(tmp_path / "project", own, taxonomy)
    yield project
    project.database.engine.dispose()


def is_away(client: TestClient, method: str, path: str, **more: Any) -> bool:
    answer = client.request(method, path, **more)
    return (answer.status_code, answer.json()) == (503, {"error": SAID})


def test_a_database_that_is_away_is_503(server: Postgres, stored: Project) -> None:
    payload = {
        "action": "ANNOTATION_CREATED",
        "task": {"data": {"uid": "q_0"}},
        "annotation": {"id": 1, "result": [], "updated_at": "2026-01-01T00:00:00Z"},
    }
    secret = {"X-Atlas-Secret": stored.secret("webhook_secret")}
    with client_of(stored) as client:
        app: Any = client.app
        assert client.get("/").status_code == 200
        server.stop()
        for path in READ:
            assert is_away(client, "GET", path), path
        assert is_away(client, "POST", "/api/v1/retrain", json={"kind": "heads"})
        assert is_away(client, "POST", WEBHOOK, json=payload, headers=secret)
        page = client.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert "The database does not answer" in page.text
        for told in ("127.0.0.1", "postgres", str(server.port)):
            assert told not in page.text
            assert told not in SAID
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json()["parts"]["database"]["ok"] is False
        server.start()
        assert client.get("/api/v1/status").status_code == 200
        assert client.get("/").status_code == 200
        app.state.project.database.engine.dispose()
