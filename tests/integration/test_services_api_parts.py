"""Readiness, figures for Prometheus, and what Label Studio asks as of an ML backend."""

from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
import pytest
from sqlalchemy import delete, select

from atlas.batches import Ask
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.status import status
from atlas.store.tables import Job, Lease, Meta, QueryRow, Round
from atlas.tokens import Role
from atlas.types import utc_now
from services import jobs, tasks
from services.api import readiness
from services.celery_config import build_app
from services.pulse import LAST_TICK
from tests.api_support import client_of, go_round, open_round

ML = "/label-studio/ml"


@pytest.fixture
def label_studio(project: Project) -> Iterator[Event]:
    """A server that answers as Label Studio's health page does, once the event is set."""
    healthy = Event()
    healthy.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            healthy.wait()
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    change_setting(project.directory, "label_studio", "token", "x")
    url = f"http://127.0.0.1:{httpd.server_port}"
    change_setting(project.directory, "label_studio", "url", url)
    yield healthy
    healthy.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def embedded(project: Project) -> None:
    """As the worker leaves the job of embedding: 30 of 40 images were in the cache."""
    jobs.request(project.database, "embed")
    assert jobs.start(project.database, "embed", holder="a")
    jobs.finish(project.database, "embed", {"done": 40, "total": 40, "computed": 10})
    with project.database.session() as session:
        session.execute(delete(Lease))


def test_every_part_is_named(project: Project, label_studio: Event) -> None:
    fresh = Project(project.directory)
    with client_of(fresh) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "not ready",
            "parts": {
                "database": {"ok": True, "said": "answers"},
                "broker": {"ok": True, "said": "answers"},
                "label_studio": {"ok": True, "said": "answers"},
                "worker": {"ok": False, "said": "no worker has looked around yet"},
                "bottlenecks": {"ok": False, "said": "0 of 40 images"},
            },
        }
        embedded(fresh)
        tasks.look_around(build_app(fresh), fresh)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert answer.json()["parts"]["bottlenecks"]["said"] == "all 40 images"


def test_a_part_that_hangs_holds_up_nobody(
    project: Project, label_studio: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "DEADLINE_S", 0.2)
    label_studio.clear()
    with client_of(Project(project.directory)) as client:
        parts = client.get("/readyz").json()["parts"]
        assert parts["label_studio"]["ok"] is False
        assert parts["database"]["ok"] is True
        label_studio.set()


def test_what_is_not_set_up_or_late_is_not_ready(project: Project) -> None:
    with project.database.session() as session:
        long_ago = (utc_now() - timedelta(seconds=61)).isoformat()
        session.merge(Meta(key=LAST_TICK, value=long_ago))
    with client_of(project) as client:
        parts = client.get("/readyz").json()["parts"]
        assert parts["label_studio"] == {"ok": False, "said": "is not set up"}
        assert parts["worker"]["ok"] is False
        assert parts["worker"]["said"].startswith("looked around ")
        jobs.request(project.database, "train")
        assert jobs.start(project.database, "train", holder="a")
        assert client.get("/readyz").json()["parts"]["worker"]["said"] == "works on a job"


def figures(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, values of its labels) → value, of everything that begins with atlas_."""
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
    }


def test_metrics(project: Project) -> None:
    with client_of(project) as client, client_of(project) as other:
        before = figures(client)
        assert before[("atlas_queue_depth", ())] == 0
        assert before[("atlas_round_trip_seconds_count", ())] == 0
        go_round(project)
        open_round(project)
        embedded(project)
        with project.database.session() as session:
            waited_s = session.get_one(Round, 1).label_to_queue_s
        found = figures(client)
        assert figures(other) == found  # nothing is counted in a process
        assert found[("atlas_queue_depth", ())] == status(project)["waiting"] == 8
        assert found[("atlas_labels", ())] == 4
        assert found[("atlas_labels_last_hour", ())] == 8  # the four audit images too
        assert found[("atlas_images", ("pool",))] == 32
        assert found[("atlas_images", ("audit",))] == 8
        assert found[("atlas_jobs", ("embed", "done"))] == 1
        assert found[("atlas_bottleneck_cache", ("hit",))] == 30
        assert found[("atlas_bottleneck_cache", ("miss",))] == 10
        assert found[("atlas_round_trip_seconds_sum", ())] == waited_s
        assert found[("atlas_last_round_trip_seconds", ())] == waited_s
        shape = status(project)["accuracy"]["shape"]
        assert (shape["state"], shape["n"]) == ("ok", 4)
        assert found[("atlas_accuracy", ("shape",))] == shape["accuracy"]
        assert not [one for one in found if not one[0].startswith("atlas_")]


def test_label_studio_asks_for_guesses(project: Project) -> None:
    with client_of(project, Role.ANNOTATOR_BRIDGE) as client:
        assert client.get(f"{ML}/health").json()["status"] == "UP"
        said = {"project": "1.2", "schema": "<View/>", "access_token": "secret"}
        assert client.post(f"{ML}/setup", json=said).json() == {"model_version": "none yet"}
        go_round(project)
        open_round(project, Ask(8))
        assert client.post(f"{ML}/setup", json=said).json() == {"model_version": "m0001"}
        assert client.get(f"{ML}/versions").json() == {"versions": ["m0001"]}
        with project.database.reader() as session:
            rows = list(session.scalars(select(QueryRow).where(QueryRow.round_number == 2)))
            uids = [row.uid for row in rows]
            task_list = [{"id": 7, "data": {"uid": uid, "image": "x"}} for uid in uids]
            asked = {"tasks": [*task_list, {"data": {"text": "of another"}}], "params": {}}
            found = client.post(f"{ML}/predict", json=asked).json()["results"]
            assert found[-1] == []
            for row, (guess,) in zip(rows, found, strict=False):
                assert (guess["score"], guess["model_version"]) == (row.priority, "m0001")
                choices = [one["value"]["choices"] for one in guess["result"]]
                wanted = [] if row.blind else [[row.guess["label"]]]
                assert choices == wanted
            assert sorted((row.kind, row.blind) for row in rows) == [
                *[("audit", True)] * 4,
                *[("query", False)] * 4,
                *[("query", True)] * 4,
            ]


def test_label_studio_logs_in_with_the_token_as_password(project: Project) -> None:
    with client_of(project, Role.ANNOTATOR_BRIDGE) as client:
        token = client.headers.pop("Authorization").removeprefix("Bearer ")
        assert client.get(f"{ML}/health").status_code == 401
        assert client.get(f"{ML}/health", auth=("atlas", token)).status_code == 200
    with client_of(project, Role.ENGINEER) as client:
        assert client.get(f"{ML}/health").status_code == 403


def test_jobs_are_counted_by_state(project: Project) -> None:
    jobs.request(project.database, "embed")
    with client_of(project) as client:
        assert figures(client)[("atlas_jobs", ("embed", "queued"))] == 1
        with project.database.session() as session:
            session.get_one(Job, "embed").state = "failed"
        found = figures(client)
    assert [key[1] for key in found if key[0] == "atlas_jobs"] == [("embed", "failed")]
