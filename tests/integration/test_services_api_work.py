"""Jobs, models, the queue and accuracy by HTTP, on a real project; refits by the real task."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import csv
from io import StringIO
from typing import Any

from fastapi.testclient import TestClient
import pytest

from atlas import rounds, status, tokens
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.store.tables import Job, Promotion
from atlas.tokens import Role
from services import jobs, steps, tasks
from services.api import UNREADABLE, create_app
from services.celery_config import folder


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        with project.database.session() as session:
            made = tokens.create(session, Role.ENGINEER, name="lab")
        client.headers["Authorization"] = f"Bearer {made.token}"
        yield client


def go_round(project: Project) -> None:
    """A round from its queries to its model."""
    oracle = SimulatedOracle(project)
    rounds.open_round(project)
    rounds.push_round(project, oracle)
    rounds.collect(project, oracle, received_by="simulated")
    rounds.close_round(project)


def carry_out(project: Project, job_id: str) -> Job:
    """What the worker does with the message of a refit."""
    tasks.carry_out(project, job_id, steps.train)
    with project.database.reader() as session:
        return session.get_one(Job, job_id)


def test_the_heads_are_trained_again_by_a_job(client: TestClient, project: Project) -> None:
    go_round(project)
    rounds.open_round(project)
    asked = client.post("/api/v1/retrain", json={"kind": "heads", "reason": "new labels"})
    assert asked.status_code == 202
    job = asked.json()
    assert (job["id"], job["kind"], job["state"]) == ("train", "train", "queued")
    assert job["arguments"] == {"reason": "new labels", "by": "lab"}
    assert len(list(folder(project).iterdir())) == 1  # its message
    assert carry_out(project, "train").state == "done"
    job = client.get("/api/v1/jobs/train").json()
    assert (job["state"], job["progress"]) == ("done", {"model": "m0002"})
    assert client.get("/api/v1/status").json()["open_round"] == 2  # it stays open
    newest, oldest = client.get("/api/v1/models").json()
    assert (newest["model"], newest["current"], newest["round"]) == ("m0002", True, None)
    assert (oldest["model"], oldest["current"], oldest["round"]) == ("m0001", False, 1)


def test_asking_twice_is_one_job(client: TestClient, project: Project) -> None:
    wanted = {"kind": "finetune", "reason": "new labels"}
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: client.post("/api/v1/retrain", json=wanted), range(4)))
    assert {answer.status_code for answer in answers} == {202}
    told = [answer.json() for answer in answers]  # `sent_at` comes after the first of them
    assert len({(one["id"], one["created_at"], str(one["arguments"])) for one in told}) == 1
    unsaid = client.post("/api/v1/retrain", json={"kind": "finetune"})  # no reason to be dropped
    assert (unsaid.status_code, unsaid.json()["arguments"]["reason"]) == (202, "new labels")
    assert [job["id"] for job in client.get("/api/v1/jobs").json()] == ["finetune"]


def test_no_reason_is_dropped_in_silence(client: TestClient, project: Project) -> None:
    with ThreadPoolExecutor(4) as threads:
        reasons = [{"kind": "finetune", "reason": str(number)} for number in range(4)]
        answers = list(threads.map(lambda one: client.post("/api/v1/retrain", json=one), reasons))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
    (taken,) = [answer.json() for answer in answers if answer.status_code == 202]
    told = {answer.json()["detail"] for answer in answers if answer.status_code == 409}
    assert told == {
        f"the job finetune is queued already, with reason {taken['arguments']['reason']!r}; "
        "let it end, or stop it, and ask again"
    }


def test_a_refit_without_labels_says_so_in_its_job(client: TestClient, project: Project) -> None:
    client.post("/api/v1/retrain", json={"kind": "heads"})
    carry_out(project, "train")
    job = client.get("/api/v1/jobs/train").json()
    assert job["state"] == "failed"
    assert "no labels to train on yet" in job["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"kind": "everything"}',
        b'{"reason": "x"}',
        b'{"kind": "heads", "force": true}',
        b'{"kind": "heads", "reason": "\\ud800"}',
        b'{"kind": "heads", "reason": "' + 201 * b"x" + b'"}',
    ],
)
def test_a_wrong_request_is_422_and_asks_for_nothing(
    client: TestClient, project: Project, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/retrain", content=body, headers=headers)
    assert answer.status_code == 422
    assert {tuple(one) for one in answer.json()["detail"]} == {("type", "loc", "msg")}
    assert client.get("/api/v1/jobs").json() == []


@pytest.mark.parametrize(
    "body", [b'{"kind": "\xff"}', 200_000 * b"[", b'{"kind": ' + 6000 * b"1" + b"}"]
)
def test_json_that_cannot_be_read_is_422_too(client: TestClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/retrain", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (422, {"error": UNREADABLE})


def test_jobs_are_listed_and_stopped(client: TestClient, project: Project) -> None:
    for kind in ("reconcile", "finetune", "embed"):
        jobs.request(project.database, kind)
    assert jobs.start(project.database, "finetune", holder="a")
    listed = [one["id"] for one in client.get("/api/v1/jobs").json()]
    assert listed == ["embed", "finetune", "reconcile"]  # the newest first
    assert len(client.get("/api/v1/jobs", params={"limit": 2}).json()) == 2
    running = client.get("/api/v1/jobs", params={"state": "running"}).json()
    assert [one["id"] for one in running] == ["finetune"]
    waiting = client.delete("/api/v1/jobs/embed")
    assert (waiting.status_code, waiting.json()["state"]) == (200, "stopped")
    asked = client.delete("/api/v1/jobs/finetune").json()
    assert asked["state"] == "running"  # until its worker has seen it
    assert asked["stop_asked_at"] is not None
    assert jobs.is_asked_to_stop(project.database, "finetune")
    assert client.delete("/api/v1/jobs/embed").json()["state"] == "stopped"  # over stays over


def test_an_unknown_job_is_404(client: TestClient) -> None:
    for method in ("GET", "DELETE"):
        answer = client.request(method, "/api/v1/jobs/advance-7")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "no job 'advance-7'; see /api/v1/jobs"
    assert client.get("/api/v1/jobs/%00").status_code == 422


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 10**30}, {"state": "lost"}])
def test_a_wrong_filter_is_422(client: TestClient, wrong: dict[str, Any]) -> None:
    assert client.get("/api/v1/jobs", params=wrong).status_code == 422


def test_a_model_is_promoted_and_taken_back(client: TestClient, project: Project) -> None:
    go_round(project)
    assert client.post("/api/v1/rollback").status_code == 422
    assert "no earlier model" in client.post("/api/v1/rollback").json()["error"]
    go_round(project)
    assert client.post("/api/v1/models/m0001/promote").json() == {"model": "m0001"}
    assert current(client) == "m0001"
    with project.database.reader() as session:
        assert session.query(Promotion).all()[-1].reason == "promoted by lab"
    assert client.post("/api/v1/rollback").json() == {"model": "m0002"}
    assert current(client) == "m0002"
    unknown = client.post("/api/v1/models/m0009/promote")
    assert (unknown.status_code, current(client)) == (404, "m0002")


def current(client: TestClient) -> str:
    (found,) = [one["model"] for one in client.get("/api/v1/models").json() if one["current"]]
    return str(found)


def test_the_queue_is_in_the_order_of_asking(client: TestClient, project: Project) -> None:
    assert client.get("/api/v1/queue").json() == []
    go_round(project)
    rounds.open_round(project)
    queue = client.get("/api/v1/queue").json()
    pictures = [one.pop("picture") for one in queue]
    assert queue == status.queue(project)
    assert all(client.get(one).headers["Content-Type"] == "image/jpeg" for one in pictures)
    assert [one["priority"] for one in queue] == sorted(one["priority"] for one in queue)
    assert len(client.get("/api/v1/queue", params={"limit": 2}).json()) == 2


def test_accuracy_of_any_model(client: TestClient, project: Project) -> None:
    go_round(project)
    go_round(project)
    for model in ("m0001", "m0002"):
        found = client.get("/api/v1/accuracy", params={"model": model}).json()
        for level, one in status.accuracy(project, model).items():
            assert one.items() <= found[level].items()
            assert found[level]["model"] == model
            assert found[level]["measured_at"] is not None
    assert client.get("/api/v1/accuracy").json() == found  # m0002 answers now
    assert client.get("/api/v1/accuracy", params={"model": "m0009"}).status_code == 404
    assert client.get("/api/v1/accuracy", params={"model": "\0"}).status_code == 422


def test_accuracy_before_the_first_model(client: TestClient) -> None:
    found = client.get("/api/v1/accuracy").json()["shape"]
    assert (found["state"], found["model"], found["measured_at"]) == ("too_few_labels", None, None)


def test_accuracy_as_a_table(client: TestClient, project: Project) -> None:
    go_round(project)
    answer = client.get("/api/v1/accuracy", headers={"Accept": "text/csv;q=0.9, */*;q=0.1"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(StringIO(answer.text)))
    found = client.get("/api/v1/accuracy").json()
    assert [row["level"] for row in rows] == list(found)
    for row in rows:
        one = found[row["level"]]
        assert row["measure"] == "accuracy"
        assert float(row["value"]) == one["accuracy"]
        assert (float(row["low"]), float(row["high"])) == (one["low"], one["high"])
        assert (int(row["n"]), row["state"], row["model"]) == (one["n"], one["state"], "m0001")
    for accept in ("*/*", "text/csv, application/json", "text/html"):
        answer = client.get("/api/v1/accuracy", headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/json"


def test_every_answer_is_of_the_published_shape(client: TestClient, project: Project) -> None:
    """A field that `services.api.answers` does not name would be a 500 here."""
    go_round(project)
    rounds.open_round(project)
    jobs.request(project.database, "embed")
    for path in ("status", "accuracy", "rounds", "queue", "models", "jobs", "jobs/embed"):
        answer = client.get(f"/api/v1/{path}")
        assert (answer.status_code, bool(answer.json())) == (200, True)
    facts = client.get("/api/v1/status").json()
    assert facts.keys() == status.status(project).keys()
