"""What Label Studio asks as of an ML backend."""

from collections.abc import Sequence
import json
from typing import Any

from fastapi.testclient import TestClient
import pytest
from rounds_support import say
from sqlalchemy import select

from atlas.analysis.predicting import analyse
from atlas.analysis.stored import load_guesses
from atlas.batches import Ask
from atlas.project import Project
from atlas.promotion import promote, roll_back
from atlas.queue_state import Place
from atlas.rescoring import rescore
from atlas.store.tables import Image, ModelRow, QueryRow
from atlas.tokens import Role
from atlas.types import LABEL
from tests.api_support import client_of, go_round, open_round

ML = "/label-studio/ml"


class Unseen:
    """An order that is shown to nobody."""

    def reorder(self, places: Sequence[Place], *, round_number: int, turn: int) -> None:
        """See the class."""


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


def waiting(project: Project) -> list[QueryRow]:
    """The waiting queries of round 2 that are not blind."""
    wanted = select(QueryRow).where(QueryRow.round_number == 2, QueryRow.blind.is_(False))
    with project.database.reader() as session:
        return list(session.scalars(wanted.where(QueryRow.state == "pushed")))


def names_told(client: TestClient, project: Project) -> set[str]:
    """Under which names the guesses about what waits are told."""
    rows = waiting(project)
    asked = {"tasks": [{"data": {"uid": row.uid}} for row in rows]}
    found = client.post(f"{ML}/predict", json=asked).json()["results"]
    assert [guess["result"][0]["value"]["choices"] for (guess,) in found] == [
        [row.guess[LABEL]] for row in rows
    ]
    return {guess["model_version"] for (guess,) in found}


def name_of_all(client: TestClient) -> str:
    return str(client.post(f"{ML}/setup", json={}).json()["model_version"])


def test_a_guess_is_told_under_the_name_of_who_made_it(project: Project) -> None:
    with client_of(project, Role.ANNOTATOR_BRIDGE) as client:
        go_round(project)
        open_round(project, Ask(8))
        with project.database.session() as session:
            session.add(ModelRow(id="m0002", head="tree", fingerprint="", labels=4, metrics={}))
            session.flush()
            promote(session, "m0002", reason="by hand")
        assert names_told(client, project) == {name_of_all(client)} == {"m0001"}
        with project.database.session() as session:
            roll_back(session)
        rescore(project, Unseen())  # by the promoted model, as no label is new
        assert names_told(client, project) == {"m0001"}
        first, *others = waiting(project)
        with project.database.reader() as session:
            truth = str(session.get_one(Image, first.image_id).truth[LABEL])
        say(project, [first], "submitted", label=truth)
        rescore(project, Unseen())  # 4 labels of round 1, and this one
        assert len(waiting(project)) == len(others)
        assert names_told(client, project) == {name_of_all(client)} == {"heads on 5 labels"}


def test_who_made_a_guess_of_an_older_atlas_is_not_known(project: Project) -> None:
    with client_of(project, Role.ANNOTATOR_BRIDGE) as client:
        go_round(project)
        open_round(project, Ask(8))
        with project.database.session() as session:
            for row in session.scalars(select(QueryRow)):
                row.guess_by = ""
        assert names_told(client, project) == {"not recorded"}
        assert name_of_all(client) == "m0001"


def told_of(client: TestClient, images: list[Image]) -> dict[str, list[dict[str, Any]]]:
    """Image id → what is told of a task that names it and that Atlas did not make."""
    asked = {"tasks": [{"data": {"image_id": one.id, "uid": "of another"}} for one in images]}
    found = client.post(f"{ML}/predict", json=asked).json()["results"]
    return {one.id: guesses for one, guesses in zip(images, found, strict=True)}


def test_a_task_of_the_pool_that_nobody_queued_gets_the_models_guess(project: Project) -> None:
    with client_of(project, Role.ANNOTATOR_BRIDGE) as client:
        go_round(project)
        open_round(project, Ask(8))
        with project.database.reader() as session:
            images = list(session.scalars(select(Image).order_by(Image.id)))
            blind = set(session.scalars(select(QueryRow.image_id).where(QueryRow.blind)))
        assert set(map(str, told_of(client, images).values())) == {"[]"}  # not analysed yet
        analyse(project)
        kept = load_guesses(project, "m0001")
        place = {image_id: place for place, image_id in enumerate(kept.ids)}
        told = told_of(client, images)
        audit = {one.id for one in images if one.split == "audit"}
        assert (len(audit), len(blind - audit)) == (8, 2 + 4)  # of 4 and of 8 queries
        assert {one for one, guesses in told.items() if not guesses} == audit | blind
        for image_id, guesses in told.items():
            for guess in guesses:
                best = kept.classes["shape"][kept.best["shape"][place[image_id]]]
                assert [one["value"] for one in guess["result"]] == [{"choices": [best]}]
                assert guess["score"] == pytest.approx(kept.sure["shape"][place[image_id]])
                assert guess["model_version"] == "m0001"


def test_what_is_no_id_gets_nothing(project: Project) -> None:
    odd: tuple[Any, ...] = ("img_0", "", 7, None, [], "\0", "\ud800", "x" * 10_000)
    with client_of(project, Role.ANNOTATOR_BRIDGE) as client:
        for key in ("uid", "image_id"):
            content = json.dumps({"tasks": [{"data": {key: one}} for one in odd]})
            headers = {"Content-Type": "application/json"}
            answer = client.post(f"{ML}/predict", content=content, headers=headers)
            assert answer.json() == {"results": [[]] * len(odd)}
