"""Following a job while it goes on, and asking for a round of one's own."""

from collections.abc import Iterator
import json
from threading import Thread
import time
from typing import Any

import anyio
from fastapi.testclient import TestClient
import httpx
import pytest
import uvicorn

from atlas import rounds
from atlas.project import Project
from atlas.store.tables import Job
from services import jobs, steps, tasks
from services.api import create_app, events
from services.api.common import job_of
from tests.api_support import client_of, open_round


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with client_of(project) as client:
        yield client


def read(event: str) -> tuple[str, dict[str, Any]]:
    """An event's name and its job."""
    *name, data = event.removesuffix("\n\n").split("\n")
    return "".join(name).removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_job_is_followed_to_its_end(project: Project) -> None:
    database = project.database
    jobs.request(database, "finetune")

    async def watch() -> list[tuple[str, dict[str, Any]]]:
        stream = events.job_events(project, job_of(project, "finetune"))
        found = [read(await anext(stream))]
        assert jobs.start(database, "finetune", holder="a")
        found.append(read(await anext(stream)))
        jobs.progress(database, "finetune", {"done": 1})
        found.append(read(await anext(stream)))
        jobs.finish(database, "finetune", {"model": "m0002"})
        found += [read(one) async for one in stream]
        return found

    found = anyio.run(watch)
    assert [name for name, _ in found] == ["", "", "", "over"]
    assert [(one["state"], one["progress"]) for _, one in found] == [
        ("queued", {}),
        ("running", {}),
        ("running", {"done": 1}),
        ("done", {"model": "m0002"}),
    ]


def test_a_job_that_was_asked_for_anew_is_over(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_S", 0.01)
    jobs.request(project.database, "train")
    assert jobs.start(project.database, "train", holder="a")

    async def watch() -> list[str]:
        stream = events.job_events(project, job_of(project, "train"))
        found = [await anext(stream)]
        jobs.finish(project.database, "train", {"model": "m0002"})
        jobs.request(project.database, "train")  # before the next look
        return [*found, *[one async for one in stream]]

    first, last = (read(one) for one in anyio.run(watch))
    assert (first[0], last[0], last[1]) == ("", "over", first[1])


def test_a_silent_stream_says_that_it_lives(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(events, "ALIVE_EVERY_S", 0.02)
    jobs.request(project.database, "embed")

    async def watch() -> list[str]:
        stream = events.job_events(project, job_of(project, "embed"))
        return [await anext(stream) for _ in range(3)]

    assert anyio.run(watch)[1:] == [": still here\n\n"] * 2


def test_nobody_reads_on_when_the_client_has_gone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def counted(owner: Project, job_id: str) -> Job:
        looks.append(time.monotonic())
        return job_of(owner, job_id)

    monkeypatch.setattr(events, "job_of", counted)
    monkeypatch.setattr(events, "LOOK_EVERY_S", 0.05)
    jobs.request(project.database, "embed")
    config = uvicorn.Config(create_app(project.directory), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    address = f"http://127.0.0.1:{port}/api/v1/jobs/embed/events"
    with httpx.stream("GET", address, trust_env=False, timeout=60) as answer:
        first = next(answer.iter_text())
    assert read(first)[1]["state"] == "queued"
    time.sleep(1)  # twenty looks, to notice
    count = len(looks)
    time.sleep(1)
    assert len(looks) == count
    server.should_exit = True
    thread.join()


def test_a_job_that_is_over_is_one_event(client: TestClient, project: Project) -> None:
    jobs.request(project.database, "embed")
    client.delete("/api/v1/jobs/embed")
    answer = client.get("/api/v1/jobs/embed/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert read(answer.text) == ("over", client.get("/api/v1/jobs/embed").json())
    assert client.get("/api/v1/jobs/advance-7/events").status_code == 404


def carry_out(project: Project) -> Any:
    """What the worker does with the message."""
    asked = jobs.arguments_of(project.database, "query")
    tasks.carry_out(project, "query", lambda owner: steps.query(owner, asked))


def test_a_round_of_ones_own(client: TestClient, project: Project) -> None:
    wanted = {"n": 3, "sampler": "random", "level": "family"}
    asked = client.post("/api/v1/query", json={"n": 3, "sampler": "k_center"})
    assert asked.status_code == 202
    assert asked.json()["arguments"] == {"n": 3, "sampler": "k_center", "level": "", "by": "lab"}
    carry_out(project)
    job = client.get("/api/v1/jobs/query").json()
    assert (job["state"], job["progress"]) == ("done", {"opened": 1})
    chosen = rounds.queries_of(project, 1)
    assert len([one for one in chosen if one["reason"] != "drawn at random, to measure"]) == 3
    assert client.get("/api/v1/rounds").json()[0]["sampler"] == "k_center"
    again = client.post("/api/v1/query", json=wanted)
    assert again.status_code == 409
    assert again.json()["detail"].startswith("round 1 is open")


def test_another_wish_is_not_dropped_in_silence(client: TestClient, project: Project) -> None:
    wanted = {"n": 3, "sampler": "k_center"}
    first = client.post("/api/v1/query", json=wanted)
    again = client.post("/api/v1/query", json=wanted)
    assert (again.status_code, again.json()["created_at"]) == (202, first.json()["created_at"])
    other = client.post("/api/v1/query", json={"n": 4, "sampler": "k_center"})
    assert other.status_code == 409
    assert other.json()["detail"] == (
        "the job query is queued already, with n 3; let it end, or stop it, and ask again"
    )
    client.delete("/api/v1/jobs/query")
    assert client.post("/api/v1/query", json={"n": 4}).json()["arguments"]["n"] == 4
    assert first.json()["arguments"]["n"] == 3


def test_a_round_that_was_opened_meanwhile_fails_the_job(
    client: TestClient, project: Project
) -> None:
    client.post("/api/v1/query", json={})
    open_round(project)
    carry_out(project)
    job = client.get("/api/v1/jobs/query").json()
    assert (job["state"], job["error"]) == ("failed", "round 1 is open already; answer it first")


def test_more_than_the_pool_has_is_said_by_the_job(client: TestClient, project: Project) -> None:
    client.post("/api/v1/query", json={"n": 1000})
    carry_out(project)
    job = client.get("/api/v1/jobs/query").json()
    assert job["state"] == "failed"
    assert "asked for 1000 images, the pool has 32 left" in job["error"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sampler": "best"}, "unknown sampler 'best'; known: atl"),
        ({"sampler": "margin*10|best"}, "unknown sampler 'best'"),
        ({"sampler": "os:system"}, "String should match"),
        ({"level": "species"}, "no level 'species'; known: finest, family, shape"),
        ({"n": -1}, "greater than or equal to 0"),
        ({"m": 1}, "Extra inputs"),
    ],
)
def test_what_cannot_be_asked(client: TestClient, wrong: dict[str, Any], said: str) -> None:
    answer = client.post("/api/v1/query", json=wrong)
    assert answer.status_code == 422
    assert said in answer.text
    assert client.get("/api/v1/jobs").json() == []


def test_the_worker_knows_the_task() -> None:
    """A kind of job without a task would wait for ever."""
    assert "atlas.query" in tasks.current_app.tasks
