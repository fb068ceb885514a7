"""Queries become tasks: once each, in order, with the guess and the picture."""

from dataclasses import replace

import httpx
import pytest

from atlas.oracle import _push
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from tests.live.conftest import Receiver, Server, answer_all, open_round, tasks_of

pytestmark = pytest.mark.live

Ready = tuple[Project, LabelStudioOracle]


def test_pushing_twice_makes_no_duplicate(ready: Ready) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 1, 2])
    first = oracle.push(queries)
    assert LabelStudioOracle(project).push(queries) == first
    assert len(first) == 3
    assert len(tasks_of(oracle)) == 3


def test_a_crash_after_the_import_makes_no_duplicate(ready: Ready) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 1, 2, 3])
    # The process dies after the import of two of four: no row, no model version was written.
    version = _push.model_version(project, queries)
    oracle._api.import_tasks(
        oracle._project_id, [_push.task(project, query, version) for query in queries[:2]]
    )
    pushed = LabelStudioOracle(project).push(queries)
    tasks = tasks_of(oracle)
    assert sorted(task["data"]["uid"] for task in tasks) == sorted(pushed)
    assert len(pushed) == 4


def test_twins_of_a_repeated_import_are_removed(ready: Ready) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 1])
    task = _push.task(project, queries[0], "round 00001")
    oracle._api.import_tasks(oracle._project_id, [task, task])
    pushed = oracle.push(queries)
    assert len(tasks_of(oracle)) == 2
    assert len(pushed) == 2


def test_the_queue_follows_the_priority(ready: Ready, server: Server) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [3, 0, 5, 1])
    oracle.push(list(reversed(queries)))
    asked = answer_all(server, oracle, 4, lambda data: {"label": "top/coat"})
    assert asked == [query.uid for query in queries]


def test_a_later_round_comes_first(ready: Ready, server: Server) -> None:
    project, oracle = ready
    first = open_round(project, 1, [0, 1])
    oracle.push(first)
    second = open_round(project, 2, [2, 3])
    oracle.push(second)
    oracle.push(first)  # repeating an old push changes nothing
    asked = answer_all(server, oracle, 4, lambda data: {"label": "top/coat"})
    assert asked[:2] == [query.uid for query in second]
    assert sorted(asked[2:]) == sorted(query.uid for query in first)


def test_a_task_holds_the_guess_and_why_it_is_asked(ready: Ready) -> None:
    project, oracle = ready
    oracle.push(open_round(project, 1, [0, 1]))  # image 1 is an audit image
    tasks = tasks_of(oracle)
    for task in tasks:
        (prediction,) = task["predictions"]
        values = {r["from_name"]: r["value"] for r in prediction["result"]}
        assert values == {
            "label": {"choices": ["top/shirt"]},
            "colour": {"choices": ["red"]},
            "size": {"number": 71.4},
        }
        assert sorted(task["data"]) == ["image", "image_id", "reason", "uid"]
    told = "Chosen by Atlas: top/shirt and top/coat are nearly tied"
    assert [task["data"]["reason"] for task in tasks] == [told] * 2
    made = oracle._api.project(oracle._project_id)
    assert made is not None and made["model_version"] == tasks[0]["predictions"][0]["model_version"]


def test_a_query_without_a_guess_is_asked_in_order_too(ready: Ready, server: Server) -> None:
    project, oracle = ready
    queries = [replace(q, guess={}, confidence={}) for q in open_round(project, 1, [2, 0, 1])]
    oracle.push(queries)
    asked = answer_all(server, oracle, 3, lambda data: {"label": "footwear", "colour": "blue"})
    assert asked == [query.uid for query in queries]
    found = oracle.collect(asked)
    assert {a.values["label"] for a in found} == {"footwear"}  # an inner node is a label
    assert {a.prefill for a in found} == {"none"}


def test_pictures_are_served_to_those_who_log_in(server: Server, receiver: Receiver) -> None:
    home = server.home
    oracle = LabelStudioOracle(home)
    oracle.setup(webhook_url=receiver.url)
    oracle.setup(webhook_url=receiver.url)
    assert len(oracle._api.storages(oracle._project_id)) == 1
    (query,) = open_round(home, 1, [0])
    oracle.push([query])
    task = next(task for task in tasks_of(oracle) if task["data"]["uid"] == query.uid)
    with server.client() as client:
        served = client.get(task["data"]["image"])
    assert served.content == (home.directory / "drawn" / "0.png").read_bytes()
    assert httpx.get(server.url + task["data"]["image"], trust_env=False).status_code == 401
