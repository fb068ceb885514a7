"""Readiness, and figures for Prometheus."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import re
from threading import Event, Thread
from typing import Any

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
import pytest
from sqlalchemy import delete

from atlas.pool import ingest
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.status import status
from atlas.store.tables import Job, Lease, Meta, Round
from atlas.types import utc_now
from services import jobs, steps, tasks
from services.api import readiness
from services.celery_config import build_app
from services.pulse import LAST_BEAT, LAST_TICK
from tests.api_support import client_of, go_round, open_round


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


def embed(project: Project) -> None:
    """As the worker carries the job of embedding out."""

    def step(owner: Project) -> Mapping[str, Any]:
        return steps.embed(owner, progress=lambda *_: None, should_stop=lambda: False)

    jobs.request(project.database, "embed")
    tasks.carry_out(project, "embed", step)


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
                "schedule": {"ok": False, "said": "no worker has heard the clock yet"},
                "gpu": {"ok": True, "said": "nothing waits for it"},
                "bottlenecks": {"ok": False, "said": "0 of 40 images"},
            },
        }
        embed(fresh)
        app = build_app(fresh)
        tasks.look_around(app, fresh)  # as after a job, which tells nothing of the clock
        parts = client.get("/readyz").json()["parts"]
        assert [name for name, one in parts.items() if not one["ok"]] == ["schedule"]
        tasks.look_around(app, fresh, **app.conf.beat_schedule["tick"]["kwargs"])
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        assert answer.json()["parts"]["bottlenecks"]["said"] == "all 40 images"


def bottlenecks(client: TestClient) -> tuple[bool, str]:
    part = client.get("/readyz").json()["parts"]["bottlenecks"]
    return part["ok"], part["said"]


def test_more_to_embed_leaves_ready_what_was(
    project: Project, tmp_path: Path, draw_pool: Callable[..., Path]
) -> None:
    with client_of(project) as client:
        jobs.request(project.database, "embed")
        assert bottlenecks(client) == (False, "0 of 40 images")  # nothing answers yet
        embed(project)
        assert bottlenecks(client) == (True, "all 40 images")
        jobs.request(project.database, "embed")  # as `atlas up` does at every start
        assert bottlenecks(client) == (True, "all 40 images")
        ingest(project, draw_pool(tmp_path / "more", per_leaf=1, seed=1))
        assert bottlenecks(client) == (True, "40 of 44 images")
        assert jobs.start(project.database, "embed", holder="a")
        jobs.progress(project.database, "embed", {"done": 42, "total": 44})
        assert bottlenecks(client) == (True, "42 of 44 images")
        jobs.fail(project.database, "embed", "no room")
        assert bottlenecks(client) == (False, "42 of 44 images")
        embed(project)
        assert bottlenecks(client) == (True, "all 44 images")


def test_bottlenecks_of_another_backbone_make_nothing_ready(project: Project) -> None:
    embed(project)
    change_setting(project.directory, "backbone", "cut", "s3")
    with client_of(Project(project.directory)) as client:
        assert bottlenecks(client) == (False, "0 of 40 images")


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
        for key in (LAST_TICK, LAST_BEAT):
            session.merge(Meta(key=key, value=long_ago))
    with client_of(project) as client:
        parts = client.get("/readyz").json()["parts"]
        assert parts["label_studio"] == {"ok": False, "said": "is not set up"}
        for part, said in (("worker", "looked around "), ("schedule", "ticked ")):
            assert parts[part]["ok"] is False
            assert parts[part]["said"].startswith(said)
        jobs.request(project.database, "train")
        assert jobs.start(project.database, "train", holder="a")
        parts = client.get("/readyz").json()["parts"]
        assert parts["worker"] == {"ok": True, "said": "works on a job"}
        # whoever is busy hears no clock
        assert parts["schedule"]["ok"] is True
        assert parts["schedule"]["said"].endswith(" s ago; a worker works on a job")


def gpu(client: TestClient) -> tuple[bool, str]:
    """What is said of who fine-tunes, without the seconds."""
    part = client.get("/readyz").json()["parts"]["gpu"]
    return part["ok"], re.sub(r"\d+ s", "… s", part["said"])


def test_a_fine_tune_that_nobody_takes_is_not_ready(project: Project) -> None:
    waits = "a fine-tune waits for … s"
    with client_of(project) as client:
        jobs.request(project.database, "finetune")
        assert gpu(client) == (True, waits)
        with project.database.session() as session:
            session.get_one(Job, "finetune").created_at = utc_now() - timedelta(seconds=61)
        assert gpu(client) == (False, f"{waits}; does a worker take gpu?")
        jobs.request(project.database, "train")
        assert jobs.start(project.database, "train", holder="a")  # perhaps the only worker
        assert gpu(client) == (True, waits)
        jobs.finish(project.database, "train")
        assert jobs.start(project.database, "finetune", holder="b")
        assert gpu(client) == (True, "works on a fine-tune")
        jobs.postpone(project.database, "finetune", "busy")
        with project.database.session() as session:
            session.execute(delete(Lease))
        for ago_s, ok in ((61, True), (63, False)):  # the second try comes after 2 s
            with project.database.session() as session:
                started_at = utc_now() - timedelta(seconds=ago_s)
                session.get_one(Job, "finetune").started_at = started_at
            assert gpu(client)[0] is ok


def figures(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, values of its labels) → value, of everything that begins with atlas_."""
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
    }


def test_metrics(project: Project, tmp_path: Path, draw_pool: Callable[..., Path]) -> None:
    with client_of(project) as client, client_of(project) as other:
        before = figures(client)
        assert before[("atlas_queue_depth", ())] == 0
        assert before[("atlas_round_trip_seconds_count", ())] == 0
        go_round(project)
        open_round(project)
        ingest(project, draw_pool(tmp_path / "more", per_leaf=1, seed=1))
        embed(project)
        jobs.request(project.database, "embed")  # as at every start; what was told stays told
        with project.database.session() as session:
            waited_s = session.get_one(Round, 1).label_to_queue_s
        found = figures(client)
        assert figures(other) == found  # nothing is counted in a process
        assert found[("atlas_queue_depth", ())] == status(project)["waiting"] == 8
        assert found[("atlas_labels", ())] == 4
        assert found[("atlas_labels_last_hour", ())] == 8  # the four audit images too
        assert found[("atlas_images", ("pool",))] == 34
        assert found[("atlas_images", ("audit",))] == 10
        assert found[("atlas_jobs", ("embed", "queued"))] == 1
        assert found[("atlas_bottleneck_cache", ("hit",))] == 40
        assert found[("atlas_bottleneck_cache", ("miss",))] == 4
        assert found[("atlas_round_trip_seconds_sum", ())] == waited_s
        assert found[("atlas_last_round_trip_seconds", ())] == waited_s
        shape = status(project)["accuracy"]["shape"]
        assert (shape["state"], shape["n"]) == ("ok", 4)
        assert found[("atlas_accuracy", ("shape",))] == shape["accuracy"]
        assert not [one for one in found if not one[0].startswith("atlas_")]


def test_jobs_are_counted_by_state(project: Project) -> None:
    jobs.request(project.database, "embed")
    with client_of(project) as client:
        assert figures(client)[("atlas_jobs", ("embed", "queued"))] == 1
        with project.database.session() as session:
            session.get_one(Job, "embed").state = "failed"
        found = figures(client)
    assert [key[1] for key in found if key[0] == "atlas_jobs"] == [("embed", "failed")]
