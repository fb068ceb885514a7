"""The whole order on real parts, with an oracle that knows the truth."""

import json
from pathlib import Path
import shutil

from rounds_support import asked, go_round, queries, say
from sqlalchemy import select

from atlas.labels import training_labels
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.round_state import count_labels
from atlas.rounds import (
    close_round,
    collect,
    open_round,
    push_round,
    queries_of,
)
from atlas.status import accuracy, rounds, status
from atlas.store.tables import Image


def test_rounds_teach(project: Project) -> None:
    """32 images to ask about, 8 to measure on, 4 shapes: chance is 2 of 8, for families 4 of 8."""
    found = [go_round(project) for _ in range(5)]
    assert found == ["m0001", "m0002", "m0003", "m0004", "m0005"]
    after = accuracy(project)
    assert after["shape"]["n"] == after["family"]["n"] == 8
    assert after["shape"]["state"] == "ok"
    assert after["shape"]["accuracy"] >= 7 / 8
    assert after["family"]["accuracy"] >= 7 / 8
    listed = rounds(project)
    assert [one["labels"] for one in listed] == [4, 8, 12, 16, 20]
    assert [one["accuracy"]["shape"]["n"] for one in listed] == [4, 8, 8, 8, 8]
    assert [one["sampler"] for one in listed] == ["typiclust", *["by_budget"] * 4]
    assert listed[0]["note"] == "no model yet: typiclust instead of by_budget"
    assert all(one["label_to_queue_s"] >= 0 for one in listed[:-1])


def test_a_round_is_a_batch_and_its_share_of_the_audit_set(project: Project) -> None:
    open_round(project)
    batch, audit = queries(project, 1), queries(project, 1, "audit")
    assert (len(batch), len(audit)) == (4, 4)
    assert sorted(row.priority for row in [*batch, *audit]) == list(range(8))
    scores = [row.score for row in batch]  # in the order in which they will be asked
    assert scores == sorted(scores, reverse=True)
    assert all(row.reason for row in batch)
    with project.database.reader() as session:
        splits = dict(session.execute(select(Image.id, Image.split)).all())
    assert {splits[row.image_id] for row in batch} == {"pool"}
    assert {splits[row.image_id] for row in audit} == {"audit"}


def test_audit_images_are_asked_once_and_never_learned_from(project: Project) -> None:
    for _ in range(4):
        go_round(project)
    audit = [row.image_id for number in range(1, 5) for row in queries(project, number, "audit")]
    assert len(audit) == len(set(audit)) == 8
    with project.database.reader() as session:
        learned = set(training_labels(session))
    assert len(learned) == 16
    assert not learned & set(audit)


def test_labels_of_audit_images_do_not_change_what_is_learned(
    project: Project, tmp_path: Path
) -> None:
    """Turn every audit label into a lie: the next model is the same, bit by bit."""
    go_round(project)
    open_round(project)
    push_round(project, SimulatedOracle(project))
    shutil.copytree(project.directory, tmp_path / "liar")
    liar = Project(tmp_path / "liar")
    say(liar, queries(liar, 1, "audit"), "submitted", label="round/ball")
    for one in (project, liar):
        collect(one, SimulatedOracle(one))
        assert close_round(one) == "m0002"
    honest, lied = (one.models / "m0002/head.safetensors" for one in (project, liar))
    assert honest.read_bytes() == lied.read_bytes()


def test_the_same_seed_asks_the_same(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.directory, tmp_path / "twin")
    twin = Project(tmp_path / "twin")
    for number in (1, 2, 3):
        go_round(project)
        go_round(twin)
        for kind in ("query", "audit"):
            first, second = (queries(one, number, kind) for one in (project, twin))
            assert [row.image_id for row in first] == [row.image_id for row in second]
            assert [row.priority for row in first] == [row.priority for row in second]
            assert [row.blind for row in first] == [row.blind for row in second]


def test_no_image_is_asked_about_twice(project: Project) -> None:
    chosen: list[str] = []
    for number in range(1, 9):
        go_round(project)
        chosen += asked(project, number)
    assert len(chosen) == len(set(chosen)) == 32


def test_queries_of_is_plain_data_in_order(project: Project) -> None:
    open_round(project)
    listed = queries_of(project, 1)
    assert [one["priority"] for one in listed] == list(range(8))
    assert json.loads(json.dumps(listed)) == listed


def test_status_is_plain_data(project: Project) -> None:
    before = status(project)
    assert json.loads(json.dumps(before)) == before
    assert (before["images"], before["labels"], before["model"]) == (
        {"pool": 32, "audit": 8, "left_out": 0},
        0,
        None,
    )
    assert before["accuracy"]["shape"]["state"] == "too_few_labels"
    go_round(project)
    open_round(project)
    after = status(project)
    assert json.loads(json.dumps(after)) == after
    assert (after["labels"], after["open_round"], after["waiting"]) == (4, 2, 8)
    with project.database.reader() as session:
        assert count_labels(session) == 4
