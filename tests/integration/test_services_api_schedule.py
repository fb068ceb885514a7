"""Schedules by HTTP."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from fastapi.testclient import TestClient
import pytest

from atlas.project import Project
from atlas.store.tables import ScheduleRow
from atlas.types import utc_now
from services.retraining import keeping
from tests.api_support import client_of

NIGHTLY = {"cron": "30 2 * * *", "zone": "Europe/Berlin"}
PATH = "/api/v1/schedule"


@pytest.fixture
def client(empty_project: Project) -> Iterator[TestClient]:
    with client_of(empty_project) as client:
        yield client


def test_a_schedule_is_set_shown_and_removed(client: TestClient, empty_project: Project) -> None:
    none = client.get(PATH).json()
    assert set(none) == {"heads", "finetune"}
    assert none["heads"] == {
        "schedule": None,
        "set_at": None,
        "next": [],
        "now": "not retrained: there is no schedule",
        "decisions": [],
    }
    made = client.put(f"{PATH}/heads", json=NIGHTLY)
    assert made.status_code == 200
    assert made.json()["schedule"].items() >= NIGHTLY.items()
    keeping.carry_out(empty_project)  # the clock looks around
    shown = client.get(f"{PATH}/heads").json()
    assert shown == {**client.get(PATH).json()["heads"]}
    times = [datetime.fromisoformat(one) for one in shown["next"]]
    assert len(times) == 5
    assert {(one.hour, one.minute) for one in times} == {(2, 30)}
    assert [one["reason"] for one in shown["decisions"]] == [shown["now"]]
    assert shown["now"] == "not retrained: there are no labels yet"
    assert client.get(f"{PATH}/finetune").json()["schedule"] is None
    gone = client.delete(f"{PATH}/heads").json()
    assert (gone["schedule"], len(gone["decisions"])) == (None, 1)
    assert client.delete(f"{PATH}/heads").status_code == 200  # twice is no mistake


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "nothing starts it"),
        ({"cron": "30 2 * *"}, "expected five"),
        ({**NIGHTLY, "zone": "Europe/Atlantis"}, "no time zone"),
        ({**NIGHTLY, "zone": "Factory"}, "may be another on each machine"),
        ({"below": {"shape": 0.8}}, "would train at every new label"),
        ({"below": {"species": 0.8}, "per_day": 1}, "no level species"),
        ({"after_labels": 0}, "greater than or equal to 1"),
        ({"after_labels": 10**30}, "less than or equal to"),
        ({**NIGHTLY, "per_day": 10**30}, "less than or equal to"),
        ({**NIGHTLY, "pause_s": -1}, "greater than or equal to 0"),
        ({**NIGHTLY, "weekly": True}, "Extra inputs"),
        ([], "valid dictionary"),
    ],
)
def test_what_is_no_schedule_is_refused_and_changes_nothing(
    client: TestClient, wrong: Any, said: str
) -> None:
    answer = client.put(f"{PATH}/heads", json=wrong)
    assert answer.status_code == 422
    assert said in answer.text
    assert client.get(f"{PATH}/heads").json()["schedule"] is None


def test_there_are_two_kinds(client: TestClient) -> None:
    assert client.get(f"{PATH}/everything").status_code == 422
    assert client.put(f"{PATH}/everything", json=NIGHTLY).status_code == 422


def schedules_of(client: TestClient) -> dict[str, Any]:
    return {kind: one["schedule"] for kind, one in client.get(PATH).json().items()}


def test_both_are_set_at_once(client: TestClient) -> None:
    made = client.put(PATH, json={"heads": {"after_labels": 9}, "finetune": NIGHTLY})
    assert (made.status_code, made.json()) == (200, client.get(PATH).json())
    assert made.json()["heads"]["schedule"]["after_labels"] == 9
    assert made.json()["finetune"]["schedule"].items() >= NIGHTLY.items()


def test_what_is_not_named_is_left_and_null_removes(client: TestClient) -> None:
    client.put(PATH, json={"heads": {"after_labels": 9}, "finetune": NIGHTLY})
    before = schedules_of(client)
    assert client.put(PATH, json={}).status_code == 200
    assert schedules_of(client) == before
    client.put(PATH, json={"finetune": None})
    assert schedules_of(client) == {"heads": before["heads"], "finetune": None}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cron": "30 2 * *"}, "expected five"),  # seen by its shape
        ({"below": {"species": 0.8}, "per_day": 1}, "no level species"),  # seen by the taxonomy
    ],
)
def test_where_one_is_wrong_neither_changes(
    client: TestClient, wrong: dict[str, Any], said: str
) -> None:
    before = schedules_of(client)
    for wanted in ({"heads": NIGHTLY, "finetune": wrong}, {"heads": wrong, "finetune": NIGHTLY}):
        answer = client.put(PATH, json=wanted)
        assert answer.status_code == 422
        assert said in answer.text
    assert schedules_of(client) == before
    assert client.put(PATH, json={"backbone": NIGHTLY}).status_code == 422


def test_one_that_cannot_be_read_says_so_and_is_replaced(
    client: TestClient, empty_project: Project
) -> None:
    """Its zone was known where it was saved."""
    content = {**NIGHTLY, "zone": "US/Pacific-New"}
    with empty_project.database.session() as session:
        session.add(ScheduleRow(kind="heads", content=content, set_at=utc_now()))
    client.put(f"{PATH}/finetune", json=NIGHTLY)
    shown = client.get(PATH).json()
    assert shown["heads"]["schedule"] is None
    assert shown["heads"]["set_at"] is not None
    assert "the schedule cannot be read: not a schedule: no time zone" in shown["heads"]["now"]
    assert len(shown["finetune"]["next"]) == 5
    made = client.put(f"{PATH}/heads", json=NIGHTLY)
    assert (made.status_code, len(made.json()["next"])) == (200, 5)
