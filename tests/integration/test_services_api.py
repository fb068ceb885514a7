"""The web API of a real project, with webhook calls as Label Studio sends them."""

from collections.abc import Iterator
from datetime import UTC, datetime
import json
from typing import Any

from fastapi.testclient import TestClient
import pytest
from sqlalchemy import func, select

from atlas import rounds
from atlas.labels import training_labels
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.store.tables import AnnotationRow, Image, Job, QueryRow
from services.api import create_app
from services.celery_config import folder

WEBHOOK = "/label-studio/webhook"


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def queries(project: Project) -> list[QueryRow]:
    """The four queries and four audit images of round 1, pushed."""
    rounds.open_round(project)
    rounds.push_round(project, SimulatedOracle(project))
    with project.database.reader() as session:
        return list(session.scalars(select(QueryRow).order_by(QueryRow.priority)))


def secret(project: Project) -> dict[str, str]:
    return {"X-Atlas-Secret": project.secret("webhook_secret")}


def created(project: Project, query: QueryRow, number: int) -> dict[str, Any]:
    """What Label Studio sends when somebody submits the true label."""
    with project.database.reader() as session:
        truth = session.get_one(Image, query.image_id).truth["label"]
    region = {
        "from_name": "label",
        "to_name": "image",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": [truth]},
    }
    return {
        "action": "ANNOTATION_CREATED",
        "annotation": {
            "id": number,
            "result": [region],
            "completed_by": 2,
            "was_cancelled": False,
            "lead_time": 1.5,
            "updated_at": datetime(2026, 1, 1, 12, 0, number, tzinfo=UTC).isoformat(),
        },
        "task": {"id": 100 + number, "data": {"uid": query.uid, "image_id": query.image_id}},
    }


def count(project: Project) -> int:
    with project.database.reader() as session:
        return session.scalar(select(func.count()).select_from(AnnotationRow)) or 0


def test_a_webhook_without_the_secret_is_refused(
    client: TestClient, project: Project, queries: list[QueryRow]
) -> None:
    payload = created(project, queries[0], 1)
    for headers in ({}, {"X-Atlas-Secret": "guess"}, {"X-Atlas-Secret": "gu\u00e9ss"}):
        answer = client.post(WEBHOOK, json=payload, headers=headers_of(headers))
        assert answer.status_code == 403
    assert count(project) == 0


def headers_of(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in headers.items()}


def test_the_same_webhook_twice_is_one_annotation(
    client: TestClient, project: Project, queries: list[QueryRow]
) -> None:
    payload = created(project, queries[0], 1)
    first = client.post(WEBHOOK, json=payload, headers=secret(project))
    second = client.post(WEBHOOK, json=payload, headers=secret(project))
    assert (first.json(), second.json()) == ({"new": 1, "job": None}, {"new": 0, "job": None})
    assert count(project) == 1
    row = annotation(project)
    assert (row.received_by, row.external_id, row.lead_time_s) == ("webhook", "ls:1", 1.5)


def annotation(project: Project) -> AnnotationRow:
    with project.database.reader() as session:
        return session.scalars(select(AnnotationRow)).one()


def test_the_last_answer_of_a_round_asks_for_the_next(
    client: TestClient, project: Project, queries: list[QueryRow]
) -> None:
    answers = [
        client.post(WEBHOOK, json=created(project, query, number), headers=secret(project)).json()
        for number, query in enumerate(queries)
    ]
    assert [answer["job"] for answer in answers] == [None] * 7 + ["advance-1"]
    with project.database.reader() as session:
        job = session.get_one(Job, "advance-1")
        assert job.state == "queued"
        assert job.sent_at is not None
        assert len(training_labels(session)) == 4  # the other four are audit images
    assert len(list(folder(project).iterdir())) == 1  # the message of that job


def test_a_value_outside_the_taxonomy_is_a_skip(
    client: TestClient, project: Project, queries: list[QueryRow]
) -> None:
    payload = created(project, queries[0], 1)
    payload["annotation"]["result"][0]["value"]["choices"] = ["angular/circle"]
    assert client.post(WEBHOOK, json=payload, headers=secret(project)).json()["new"] == 1
    assert annotation(project).event == "skipped"


def test_a_webhook_about_something_else_is_passed_over(
    client: TestClient, project: Project, queries: list[QueryRow]
) -> None:
    many = {"action": "ANNOTATIONS_CREATED", "annotation": [{"id": 1}], "task": [{"id": 2}]}
    for payload in ({"action": "PROJECT_UPDATED"}, {}, {"action": "ANNOTATION_CREATED"}, many):
        answer = client.post(WEBHOOK, json=payload, headers=secret(project))
        assert (answer.status_code, answer.json()["new"]) == (200, 0)
    assert client.post(WEBHOOK, json=[1], headers=secret(project)).status_code == 422


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"action": "ANNOTATIONS_DELETED", "annotations": [1]}, 422),
        ({"action": "ANNOTATIONS_DELETED", "annotations": "abc"}, 422),
        ({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": "\ud800"}]}, 422),
        ({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 10**80}]}, 200),  # not known
        ({"action": "ANNOTATIONS_DELETED"}, 200),
        ({"action": "ANNOTATION_CREATED", "task": "x"}, 422),
        ({"action": "ANNOTATION_CREATED", "task": {"data": "x"}}, 422),
        ({"action": "ANNOTATION_CREATED", "task": [1]}, 422),
        ({"action": "ANNOTATION_CREATED", "annotation": 1}, 422),
    ],
)
def test_a_webhook_of_another_shape_is_refused(
    client: TestClient, project: Project, payload: dict[str, Any], status: int
) -> None:
    content = json.dumps(payload).encode()  # httpx itself sends no half a character
    headers = {**secret(project), "Content-Type": "application/json"}
    assert client.post(WEBHOOK, content=content, headers=headers).status_code == status


@pytest.mark.parametrize("uid", ["\ud800", "a\0", 5, None])
def test_a_webhook_about_a_task_of_others_is_passed_over(
    client: TestClient, project: Project, queries: list[QueryRow], uid: Any
) -> None:
    payload = created(project, queries[0], 1)
    payload["task"]["data"]["uid"] = uid
    headers = {**secret(project), "Content-Type": "application/json"}
    answer = client.post(WEBHOOK, content=json.dumps(payload).encode(), headers=headers)
    assert (answer.status_code, answer.json()["new"]) == (200, 0)


def test_an_answer_without_a_zone_is_left_out(
    client: TestClient, project: Project, queries: list[QueryRow]
) -> None:
    payload = created(project, queries[0], 1)
    payload["annotation"]["updated_at"] = "2026-01-02T00:00:00"
    answer = client.post(WEBHOOK, json=payload, headers=secret(project))
    assert (answer.status_code, answer.json()["new"], count(project)) == (200, 0, 0)


def test_numbers(client: TestClient, project: Project, queries: list[QueryRow]) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    facts = client.get("/api/v1/status").json()
    assert (facts["images"]["pool"], facts["images"]["audit"]) == (32, 8)
    assert (facts["open_round"], facts["waiting"]) == (1, 8)
    assert client.get("/api/v1/rounds").json()[0]["queries"] == 8
    shape = client.get("/api/v1/accuracy", params={"level": "shape"}).json()
    assert shape["shape"]["state"] == "too_few_labels"
    assert set(client.get("/api/v1/accuracy").json()) == {"family", "shape"}


def test_an_unknown_level_names_the_known(client: TestClient) -> None:
    answer = client.get("/api/v1/accuracy", params={"level": "species"})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no level 'species'; known: family, shape"


def test_another_host_name_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
