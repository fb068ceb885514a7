"""Accuracy over time and by class by HTTP, as JSON and as CSV."""

from collections.abc import Iterator
import csv
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

from fastapi.testclient import TestClient
import pytest

from atlas import status
from atlas.analysis.classes import class_accuracies
from atlas.analysis.predicting import analyse
from atlas.project import Project
from tests.api_support import client_of, go_round

PATH = "/api/v1/accuracy"


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with client_of(project) as client:
        yield client


def as_rows(client: TestClient, path: str, **params: str) -> list[dict[str, str]]:
    answer = client.get(path, params=params, headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(StringIO(answer.text)))


def test_history_is_a_record_a_model_and_level(client: TestClient, project: Project) -> None:
    assert client.get(f"{PATH}/history").json() == []
    assert as_rows(client, f"{PATH}/history") == []
    go_round(project)
    go_round(project)
    found = client.get(f"{PATH}/history").json()
    assert [(one["model"], one["round"], one["labels"], one["level"]) for one in found] == [
        ("m0001", 1, 4, "family"),
        ("m0001", 1, 4, "shape"),
        ("m0002", 2, 8, "family"),
        ("m0002", 2, 8, "shape"),
    ]
    for one in found:
        known = status.accuracy(project, one["model"])[one["level"]]
        assert known.items() <= one.items()
    rows = as_rows(client, f"{PATH}/history", level="shape")
    assert [row["model"] for row in rows] == ["m0001", "m0002"]
    assert [float(row["value"]) for row in rows] == [
        one["accuracy"] for one in found if one["level"] == "shape"
    ]
    assert {row["measure"] for row in rows} == {"accuracy"}
    second = client.get(f"{PATH}/history", params={"model": "m0002"}).json()
    assert second == [one for one in found if one["model"] == "m0002"]
    assert client.get(f"{PATH}/history", params={"model": "m0009"}).status_code == 404


def test_since_leaves_out_what_was_measured_before(client: TestClient, project: Project) -> None:
    go_round(project)
    go_round(project)
    found = client.get(f"{PATH}/history", params={"level": "shape"}).json()
    second = found[1]["measured_at"]
    late = str(datetime.fromisoformat(second) + timedelta(microseconds=1))
    for since, models in ((second, ["m0002"]), (late, [])):
        left = client.get(f"{PATH}/history", params={"level": "shape", "since": since}).json()
        assert [one["model"] for one in left] == models
        now = client.get(PATH, params={"level": "shape", "since": since}).json()
        assert [one["model"] for one in now.values()] == models


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"])
def test_a_time_needs_a_zone(client: TestClient, since: str) -> None:
    assert client.get(PATH, params={"since": since}).status_code == 422


def test_the_ends_of_time_are_times(client: TestClient, project: Project) -> None:
    go_round(project)
    for since, count in (("0001-01-01T00:00:00+14:00", 2), ("9999-12-31T23:59:59-14:00", 0)):
        answer = client.get(PATH, params={"since": since})
        assert (answer.status_code, len(answer.json())) == (200, count)


def test_by_class(client: TestClient, project: Project) -> None:
    path = f"{PATH}/classes"
    before: list[dict[str, Any]] = client.get(path, params={"level": "shape"}).json()
    assert [(one["class"], one["n"], one["model"]) for one in before] == [
        (name, 0, None) for name in project.taxonomy.tasks["shape"]
    ]
    go_round(project)
    analyse(project)
    found = client.get(path, params={"level": "family"}).json()
    assert [
        {key: one[key] for key in known}
        for one, known in zip(found, class_accuracies(project, "family"), strict=True)
    ] == class_accuracies(project, "family")
    assert {one["model"] for one in found} == {"m0001"}
    rows = as_rows(client, path, level="family", model="m0001")
    assert [row["class"] for row in rows] == list(project.taxonomy.tasks["family"])
    assert [int(row["n"]) for row in rows] == [one["n"] for one in found]


def test_by_class_of_what_is_not_there(client: TestClient, project: Project) -> None:
    path = f"{PATH}/classes"
    assert client.get(path).status_code == 422
    unknown = client.get(path, params={"level": "species"})
    assert unknown.status_code == 404
    assert unknown.json()["detail"] == "no level 'species'; known: family, shape"
    wrong_model = client.get(path, params={"level": "shape", "model": "m0009"})
    assert wrong_model.status_code == 404


@pytest.mark.parametrize("path", ["", "/history", "/classes"])
@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_a_store_between_keeps_both_apart(client: TestClient, path: str, accept: str) -> None:
    answer = client.get(PATH + path, params={"level": "shape"}, headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(accept)
    assert answer.headers.get_list("Vary") == ["Accept"]
