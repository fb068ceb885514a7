"""The oracle against a real Label Studio."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from atlas.errors import OracleRefused, OracleUnreachable
from atlas.oracle import _label_config
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.settings import LabelStudioSettings, Settings
from atlas.store.tables import AnnotationRow, LabelRow, Meta
from tests.live.conftest import (
    TAXONOMY,
    Receiver,
    Server,
    answer_all,
    free_port,
    open_round,
    record,
    tasks_of,
)

pytestmark = pytest.mark.live

Ready = tuple[Project, LabelStudioOracle]


def test_setup_twice_makes_one_of_each(ready: Ready, receiver: Receiver) -> None:
    project, oracle = ready
    first = oracle._project_id
    again = LabelStudioOracle(project)
    assert again.setup(webhook_url=receiver.url.replace("webhook", "webhook2")) == first
    assert len(again._api.webhooks(first)) == 1
    assert again._api.webhooks(first)[0]["url"].endswith("webhook2")
    assert len(again._api.views(first)) == 1
    assert again._api.views(first)[0]["data"]["ordering"] == ["tasks:predictions_score"]
    made = again._api.project(first)
    assert made is not None
    assert made["label_config"] == _label_config.render(TAXONOMY)
    assert made["sampling"] == "Uncertainty sampling"


def test_setup_finds_the_project_by_its_marker(ready: Ready, receiver: Receiver) -> None:
    project, oracle = ready
    first = oracle._project_id
    with project.database.session() as session:
        # What a crash between Label Studio's answer and Atlas's row leaves behind.
        session.delete(session.get(Meta, "label_studio_project"))
    assert LabelStudioOracle(project).setup(webhook_url=receiver.url) == first


def test_webhook_and_collect_tell_the_same_story(
    ready: Ready, server: Server, receiver: Receiver
) -> None:
    """Annotate, edit, delete and skip; both ways give identical records at every step."""
    project, oracle = ready
    queries = open_round(project, 1, [0, 1, 2])
    oracle.push(queries)
    uids = [query.uid for query in queries]
    answers = {
        uids[0]: {"label": "top/shirt", "colour": "red", "size": 71.4},  # accepts the guess
        uids[1]: {"label": "top", "colour": "red", "size": 60},  # stops half-way up
        uids[2]: None,
    }
    numbers = {uids[0]: {"size": "71.4"}, uids[1]: {"size": "60"}}  # in labels they are text
    answer_all(server, oracle, 3, lambda data: answers[data["uid"]])

    by_webhook = [a for call in receiver.wait_for(3) for a in oracle.parse_webhook(call)]
    assert by_webhook == sorted(oracle.collect(uids), key=lambda a: uids.index(a.query_uid))
    assert [a.event for a in by_webhook] == ["submitted", "submitted", "skipped"]
    assert [a.prefill for a in by_webhook] == ["accepted", "changed", "none"]
    assert [dict(a.values) for a in by_webhook] == [
        *({**answers[uid], **numbers[uid]} for uid in uids[:2]),
        {},
    ]
    assert record(project, by_webhook, "webhook") == 3
    assert record(project, oracle.collect(uids), "poll") == 0
    secret = project.secret("webhook_secret")
    assert all(headers["X-Atlas-Secret"] == secret for headers, _ in receiver.calls)

    with server.client() as client:
        number = by_webhook[0].external_id.removeprefix("ls:")
        region = {"from_name": "label", "to_name": "image", "type": "choices"}
        edited = [{**region, "value": {"choices": ["bottom/skirt"]}, "origin": "manual"}]
        patch = client.patch(f"/api/annotations/{number}/", json={"result": edited})
        assert patch.status_code == 200
        edit = oracle.parse_webhook(receiver.wait_for(4)[3])
        assert [dict(a.values) for a in edit] == [{"label": "bottom/skirt"}]
        assert edit[0] in oracle.collect(uids)
        assert record(project, edit, "webhook") == 1
        assert record(project, oracle.collect(uids), "poll") == 0

        gone = by_webhook[1].external_id.removeprefix("ls:")
        assert client.delete(f"/api/annotations/{gone}/").status_code == 204
        deleted = oracle.parse_webhook(receiver.wait_for(5)[4])
        assert [(a.external_id, a.event) for a in deleted] == [(f"ls:{gone}", "deleted")]
        assert deleted[0] in oracle.collect(uids)
        assert record(project, oracle.collect(uids), "poll") == 1
        assert record(project, deleted, "webhook") == 0
        assert oracle.parse_webhook(receiver.calls[4][1]) == deleted
    with project.database.reader() as session:
        left = {(row.image_id, row.task, row.value) for row in session.scalars(select(LabelRow))}
        assert left == {(queries[0].image_id, "label", "bottom/skirt")}
        assert len(list(session.scalars(select(AnnotationRow)))) == 5


def test_of_many_queries_only_changes_are_read(
    ready: Ready, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three answers; an edit, a deletion and a deleted task are each found by the next call."""
    monkeypatch.setattr("atlas.oracle.label_studio.FEW", 0)
    monkeypatch.setattr("atlas.oracle._watermark.OVERLAP", timedelta(0))
    project, oracle = ready
    queries = open_round(project, 1, [0, 1, 2, 3])
    uids = [query.uid for query in queries]
    oracle.push(queries)
    answer_all(server, oracle, 3, lambda data: {"label": "top/coat"})

    first = oracle.collect(uids)
    assert len(first) == 3
    assert oracle.collect(uids) == first  # they were not recorded yet: a crash loses nothing
    assert record(project, first, "poll") == 3
    assert oracle.collect(uids) == first  # now they are known, and the watermark passes them
    assert oracle.collect(uids) == []

    numbers = [annotation.external_id.removeprefix("ls:") for annotation in first]
    with server.client() as client:
        region = {"from_name": "label", "to_name": "image", "type": "choices"}
        result = [{**region, "value": {"choices": ["top/shirt"]}}]
        client.patch(f"/api/annotations/{numbers[0]}/", json={"result": result})
        edited = oracle.collect(uids)
        assert [(a.external_id, dict(a.values)) for a in edited] == [
            (f"ls:{numbers[0]}", {"label": "top/shirt"})
        ]
        assert record(project, edited, "poll") == 1
        client.delete(f"/api/annotations/{numbers[1]}/")
        deleted = oracle.collect(uids)
        assert (f"ls:{numbers[1]}", "deleted") in {(a.external_id, a.event) for a in deleted}
        assert record(project, deleted, "poll") == 1

        # A task that is gone has not changed; looking at all of them once an hour finds it.
        gone = next(t for t in tasks_of(oracle) if t["data"]["uid"] == first[2].query_uid)
        assert client.delete(f"/api/tasks/{gone['id']}/").status_code == 204
        assert first[2].query_uid not in {a.query_uid for a in oracle.collect(uids)}
        monkeypatch.setattr("atlas.oracle._watermark.SWEEP_EVERY", timedelta(0))
        swept = {(a.external_id, a.event) for a in oracle.collect(uids)}
        assert (f"ls:{numbers[2]}", "deleted") in swept


def test_a_skip_ends_the_task_for_everybody(ready: Ready, server: Server) -> None:
    project, oracle = ready
    oracle.push(open_round(project, 1, [0]))
    answer_all(server, oracle, 1, lambda data: None)
    for token in (server.admin.token, server.annotator.token):
        answer = httpx.get(
            f"{server.url}/api/projects/{oracle._project_id}/next",
            headers={"Authorization": f"Token {token}"},
            trust_env=False,
        )
        assert answer.status_code == 404


def test_garbage_is_counted_and_its_round_does_not_hang(ready: Ready, server: Server) -> None:
    project, oracle = ready
    queries = open_round(project, 1, [0, 1, 2])
    uids = [query.uid for query in queries]
    oracle.push(queries)
    answers = {
        uids[0]: {"label": "no/such", "colour": "red"},
        uids[1]: {"mood": "sad"},
        uids[2]: {"label": "top/coat"},
    }
    answer_all(server, oracle, 3, lambda data: answers[data["uid"]])
    found = {a.query_uid: a for a in oracle.collect(uids)}
    assert [found[uid].event for uid in uids] == ["submitted", "skipped", "submitted"]
    assert [dict(found[uid].values) for uid in uids] == [
        {"colour": "red"},
        {},
        {"label": "top/coat"},
    ]
    assert oracle.unusable == 3  # an unknown node, nothing usable beside it, an unknown control


def test_a_refused_token_says_so(make_project: Callable[..., Project]) -> None:
    oracle = LabelStudioOracle(make_project(token="0" * 40))
    with pytest.raises(OracleRefused, match=r"refused the token \(401.*label_studio.token"):
        oracle.check()


def test_no_server_says_so(make_project: Callable[..., Project]) -> None:
    oracle = LabelStudioOracle(make_project(url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(OracleUnreachable, match="atlas up DIR"):
        oracle.check()


def test_a_project_that_nobody_started_says_so(tmp_path: Any) -> None:
    settings = Settings(label_studio=LabelStudioSettings())
    project = Project.create(tmp_path / "quiet", settings, TAXONOMY)
    with pytest.raises(OracleUnreachable, match="atlas up"):
        LabelStudioOracle(project).check()
