"""A replay in memory is the live loop: the same images, the same accuracies."""

import numpy as np
import pytest
from sqlalchemy import insert, select

from atlas import rounds
from atlas.batches import Ask
from atlas.choosing import query_row
from atlas.errors import OracleRefused
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.replay import load_replay, replay
from atlas.status import accuracy
from atlas.store.tables import Image, QueryRow, Round
from atlas.types import LABEL

SCHEDULE = (4, 8, 12, 20, 28)


def answer_audit(project: Project) -> None:
    """Live rounds measure on the audit images that were answered; here all are, from the start."""
    oracle = SimulatedOracle(project)
    with project.database.session() as session:
        audit = session.scalars(select(Image.id).where(Image.split == "audit")).all()
        session.add(Round(number=0, state="open", sampler="audit", steps=[]))
        session.flush()
        session.execute(insert(QueryRow), [query_row(0, "audit", one) for one in audit])
    rounds.push_round(project, oracle)
    rounds.collect(project, oracle)
    with project.database.session() as session:
        session.get_one(Round, 0).state = "closed"


@pytest.mark.parametrize("sampler", ["by_budget", "margin", "k_center", "bald", "random"])
def test_a_replay_gives_what_the_rounds_of_a_project_give(project: Project, sampler: str) -> None:
    chosen = project.settings.round.model_copy(update={"sampler": sampler})
    project.settings = project.settings.model_copy(update={"round": chosen})
    data = load_replay(project)
    answer_audit(project)
    oracle = SimulatedOracle(project)
    live = []
    for before, labels in zip((0, *SCHEDULE), SCHEDULE, strict=False):
        number = rounds.open_round(project, Ask(labels - before))
        rounds.push_round(project, oracle)
        rounds.collect(project, oracle)
        model = rounds.close_round(project)
        asked = {row["image"] for row in rounds.queries_of(project, number)}
        live.append((asked, {k: v["accuracy"] for k, v in accuracy(project, model).items()}))
    points = replay(data, project.settings, SCHEDULE)
    assert [point["labels"] for point in points] == list(SCHEDULE)
    for (asked, measured), point in zip(live, points, strict=True):
        assert set(point["asked"]) == asked
        assert point["accuracy"] == pytest.approx(measured)


def test_the_start_is_random_and_the_pool_ends(project: Project) -> None:
    data = load_replay(project)
    points = replay(data, project.settings, (10, 30, 50), start=6)
    assert [point["labels"] for point in points] == [6, 10, 30]  # the pool has 32, 20 more are not
    assert [point["sampler"] for point in points] == ["random", "by_budget", "by_budget"]


def test_without_truth_there_is_nothing_to_replay(project: Project) -> None:
    with project.database.session() as session:
        for image in session.scalars(select(Image).where(Image.split == "audit")):
            image.truth = {}
    with pytest.raises(OracleRefused, match="needs the truth"):
        load_replay(project)


def test_accuracy_by_hand(project: Project) -> None:
    """8 audit images, 2 a leaf: a model of one label says that leaf of all: 2/8 of the leaves."""
    data = load_replay(project)
    settings = project.settings.model_copy(update={"seed": 3})
    (point,) = replay(data, settings, (1,))
    leaf = data.pool.labels[data.pool.position[point["asked"][0]]][LABEL]
    truths = np.array([label[LABEL] for label in data.test.labels])
    assert point["accuracy"][data.taxonomy.levels[-1]] == (truths == leaf).mean()
