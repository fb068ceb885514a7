"""A new order and new guesses for tasks that Label Studio has already."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atlas.oracle._rescore import KEPT, LabelStudioQueue, version_of
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.queue_state import Place
from atlas.types import Query, utc_now
from tests.live.conftest import Server, answer_all, open_round, tasks_of

pytestmark = pytest.mark.live

Ready = tuple[Project, LabelStudioOracle]
GUESS = {"label": "bottom/skirt", "colour": "green"}


def places_of(queries: list[Query], tasks: dict[str, str]) -> list[Place]:
    """In the order of `queries`; those about images of odd numbers are blind."""
    return [
        Place(q.uid, tasks[q.uid], rank, {} if int(q.image_id[-1], 16) % 2 else GUESS, {})
        for rank, q in enumerate(queries)
    ]


def shown(server: Server, oracle: LabelStudioOracle) -> dict[str, Any]:
    """What the annotator's next task shows; opening it takes its lock."""
    with server.client() as client:
        return dict(client.get(f"/api/projects/{oracle._project_id}/next").json())


def test_the_order_and_the_guesses_switch(ready: Ready, server: Server) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 1, 2, 3, 4, 5])
    tasks = oracle.push(queries)
    queue = LabelStudioQueue(project)
    turned = [queries[i] for i in (4, 1, 5, 0, 3, 2)]
    queue.reorder(places_of(turned, tasks), round_number=1, turn=1)
    guesses: list[set[str]] = []

    def answer(data: dict[str, str]) -> dict[str, str]:
        return {"label": "top/coat"}

    made = oracle._api.project(oracle._project_id)
    assert made is not None
    assert made["model_version"] == version_of(1, 1) > "round 00001"
    for task in tasks_of(oracle):
        (new,) = [p for p in task["predictions"] if p["model_version"] == version_of(1, 1)]
        guesses.append({str(region["value"]["choices"][0]) for region in new["result"]})
    assert sorted(map(sorted, guesses)) == [[]] * 3 + [["bottom/skirt", "green"]] * 3
    assert answer_all(server, oracle, 6, answer) == [query.uid for query in turned]


def test_an_open_task_may_be_answered_with_the_guess_it_was_opened_with(
    ready: Ready, server: Server
) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 2, 4])
    tasks = oracle.push(queries)
    opened = shown(server, oracle)
    queue = LabelStudioQueue(project)
    queue.reorder(places_of(queries[::-1], tasks), round_number=1, turn=1)
    assert queue.tidy() == 0  # the first version is younger than `KEPT`
    (guess,) = opened["predictions"]
    body = {"parent_prediction": guess["id"], "result": guess["result"]}
    with server.client() as client:
        said = client.post(f"/api/tasks/{opened['id']}/annotations/", json=body)
    assert said.status_code == 201
    (found,) = oracle.collect([queries[0].uid])
    assert found.values["label"] == "top/shirt"
    asked = answer_all(server, oracle, 2, lambda data: {"label": "top/coat"})
    assert asked == [queries[2].uid, queries[1].uid]


def test_old_guesses_are_tidied_away_one_version_a_call(ready: Ready) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 2])
    tasks = oracle.push(queries)
    queue = LabelStudioQueue(project)
    for turn in (1, 2):
        queue.reorder(places_of(queries, tasks), round_number=1, turn=turn)
    later = utc_now() + KEPT + timedelta(minutes=1)
    assert [queue.tidy(now=later) for _ in range(3)] == [2, 2, 0]  # the shown version stays
    assert set(queue._api.versions(queue._project_id)) == {version_of(1, 2)}


def test_a_task_that_somebody_deleted_is_passed_over(ready: Ready, server: Server) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 2, 4])
    tasks = oracle.push(queries)
    oracle._api.delete_task(int(tasks[queries[1].uid]))
    queue = LabelStudioQueue(project)
    queue.reorder(places_of(queries[::-1], tasks), round_number=1, turn=1)
    asked = answer_all(server, oracle, 2, lambda data: {"label": "top/coat"})
    assert asked == [queries[2].uid, queries[0].uid]


def test_a_round_that_follows_comes_first(ready: Ready, server: Server) -> None:
    project, oracle = ready
    first = open_round(project, 1, [0, 2])
    tasks = oracle.push(first)
    LabelStudioQueue(project).reorder(places_of(first, tasks), round_number=1, turn=7)
    second = [replace(query) for query in open_round(project, 2, [4, 5])]
    oracle.push(second)
    asked = answer_all(server, oracle, 2, lambda data: {"label": "top/coat"})
    assert asked == [query.uid for query in second]
