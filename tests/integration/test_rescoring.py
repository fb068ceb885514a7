"""Waiting queries are ordered anew when a label or another model comes."""

from collections.abc import Sequence

import numpy as np
import pytest
from rounds_support import crash, go_round, queries, say
from sqlalchemy import func, select

from atlas import queue_state, registry
from atlas.batches import Ask
from atlas.choosing import guesses
from atlas.embedding import open_cache, project_backbone
from atlas.errors import OracleUnreachable
from atlas.evaluation import predict
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.promotion import promote, roll_back
from atlas.queue_state import Place
from atlas.rescoring import rescore, scorer
from atlas.rounds import close_round, open_round, push_round
from atlas.settings import RoundSettings
from atlas.settings_file import change_setting
from atlas.store.tables import Image, Meta, ModelRow, QueryRow, Round
from atlas.train import train_model
from atlas.types import LABEL
from services import steps


class Shown:
    """Notes every order; may break off after it was shown."""

    def __init__(self) -> None:
        self.orders: list[Sequence[Place]] = []
        self.turns: list[int] = []
        self.breaks_off = False

    def reorder(self, places: Sequence[Place], *, round_number: int, turn: int) -> None:
        self.orders.append(places)
        self.turns.append(turn)
        if self.breaks_off:
            raise OracleUnreachable("the answer got lost")


def is_due(project: Project) -> bool:
    with project.database.reader() as session:
        return queue_state.is_due(session, project)


def truth(project: Project, row: QueryRow) -> str:
    with project.database.reader() as session:
        return str(session.get_one(Image, row.image_id).truth[LABEL])


def answer(project: Project, rows: Sequence[QueryRow]) -> None:
    for row in rows:
        say(project, [row], "submitted", label=truth(project, row))


def told(project: Project, number: int = 2) -> list[QueryRow]:
    """The queries that are not blind: with four audit images all but four."""
    return [row for row in queries(project, number) if not row.blind]


def blind(project: Project) -> list[QueryRow]:
    """The four audit images and the four blind queries of round 2."""
    rows = [*queries(project, 2), *queries(project, 2, "audit")]
    return [row for row in rows if row.blind]


@pytest.fixture
def waiting(project: Project) -> Project:
    """Round 2 pushed: 14 queries, 4 of them blind, and 4 audit images; a model of 4 labels."""
    go_round(project)
    open_round(project, Ask(14))
    push_round(project, SimulatedOracle(project))
    return project


def test_nothing_is_due_before_a_label_comes(waiting: Project) -> None:
    shown = Shown()
    assert not is_due(waiting)
    assert rescore(waiting, shown) == {"waiting": 0}
    assert shown.orders == []


def test_a_label_orders_what_waits_by_the_sampler_that_scores(waiting: Project) -> None:
    change_setting(waiting.directory, "round", "sampler", "entropy")
    with waiting.database.session() as session:
        session.get_one(Round, 2).sampler = "entropy"
    project, shown = Project(waiting.directory), Shown()
    before = told(project)
    answer(project, before[:1])
    assert is_due(project)
    found = rescore(project, shown)
    assert (found["waiting"], found["labels"], found["by"]) == (9 + 8, 5, "entropy")
    after = [row for row in told(project) if row.state == "pushed"]
    scores = [row.score for row in after]
    assert scores == sorted(scores, reverse=True)
    assert {row.uid for row in after} == {row.uid for row in before[1:]}
    assert [row.uid for row in after] != [row.uid for row in before[1:]]
    for row in after:
        assert 0 <= row.score <= 1
        assert row.guess[LABEL] in project.taxonomy.leaves
    assert not is_due(project)


def test_guesses_are_those_of_a_head_on_all_labels(waiting: Project) -> None:
    """Six labels more than the model has: the guesses are a fresh fit's, the model stays."""
    shown = Shown()
    answer(waiting, told(waiting)[:6])
    rescore(waiting, shown)
    bundle = registry.load_current(waiting)
    assert bundle is not None
    assert bundle[0] == "m0001"
    with waiting.database.reader() as session:
        assert session.scalar(select(func.count()).select_from(ModelRow)) == 1
        hashes = dict(session.execute(select(Image.id, Image.sha256)).all())
    left = [row for row in told(waiting) if row.state == "pushed"]
    cache = open_cache(waiting, project_backbone(waiting))
    rows = cache.read([hashes[row.image_id] for row in left])
    old = guesses(bundle[1].head, rows)
    assert [row.confidence for row in left] != [sure for _, sure in old]
    right = sum(row.guess[LABEL] == truth(waiting, row) for row in left)
    before = sum(
        guess[LABEL] == truth(waiting, row) for row, (guess, _) in zip(left, old, strict=True)
    )
    assert right >= before


def test_blind_images_keep_their_places_and_have_no_guess(waiting: Project) -> None:
    """Audit images and queries alike, so that an order tells nothing about which they are."""
    shown = Shown()
    before = {row.uid: row.priority for row in blind(waiting)}
    assert len(before) == 4 + 4
    places = sorted(row.priority for row in told(waiting)[1:])
    answer(waiting, told(waiting)[:1])
    rescore(waiting, shown)
    (order,) = shown.orders
    assert {row.uid: row.priority for row in blind(waiting)} == before
    assert all((row.guess, row.confidence) == ({}, {}) for row in blind(waiting))
    assert [one.priority for one in order] == sorted(one.priority for one in order)
    assert {one.uid: one.priority for one in order if one.uid in before} == before
    assert all(one.guess == {} for one in order if one.uid in before)
    assert sorted(one.priority for one in order if one.uid not in before) == places


def test_a_label_of_an_audit_image_changes_nothing(waiting: Project) -> None:
    answer(waiting, queries(waiting, 2, "audit")[:2])
    assert not is_due(waiting)


def test_while_it_runs_a_label_asks_for_one_more(waiting: Project) -> None:
    """The label comes after the order was read and before it is kept."""
    first, second = told(waiting)[:2]
    answer(waiting, [first])

    class Late(Shown):
        def reorder(self, places: Sequence[Place], *, round_number: int, turn: int) -> None:
            answer(waiting, [second])

    kept = second.priority
    rescore(waiting, Late())
    assert is_due(waiting)
    row = next(row for row in told(waiting) if row.uid == second.uid)
    assert (row.state, row.priority) == ("answered", kept)  # as it was asked
    assert rescore(waiting, Shown())["labels"] == 6
    assert not is_due(waiting)


def test_a_turn_that_broke_off_is_repeated_under_another_number(waiting: Project) -> None:
    answer(waiting, told(waiting)[:1])
    shown = Shown()
    shown.breaks_off = True
    with pytest.raises(OracleUnreachable):
        rescore(waiting, shown)
    assert is_due(waiting)
    shown.breaks_off = False
    rescore(waiting, shown)
    assert shown.turns == [1, 2]


def test_a_kill_before_it_is_kept_loses_nothing(
    waiting: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(waiting, told(waiting)[:1])
    with monkeypatch.context() as patch:
        patch.setattr("atlas.rescoring._save", crash)
        with pytest.raises(KeyboardInterrupt):
            rescore(waiting, Shown())
    assert is_due(waiting)
    assert rescore(waiting, Shown())["turn"] == 2


def test_after_a_promotion_the_model_that_answers_guesses(waiting: Project) -> None:
    """No label comes after it, so its own head guesses."""
    answer(waiting, told(waiting)[:6])
    rescore(waiting, Shown())
    assert train_model(waiting) == "m0002"
    assert is_due(waiting)
    rescore(waiting, Shown())
    _guessed_by(waiting, "m0002")
    with waiting.database.session() as session:
        assert roll_back(session) == "m0001"
    rescore(waiting, Shown())
    _guessed_by(waiting, "m0001")
    with waiting.database.session() as session:
        promote(session, "m0002", reason="by hand")
    assert is_due(waiting)


def _guessed_by(project: Project, model_id: str) -> None:
    bundle = registry.load_bundle(project.models / model_id)
    left = [row for row in told(project) if row.state == "pushed"]
    with project.database.reader() as session:
        hashes = dict(session.execute(select(Image.id, Image.sha256)).all())
    cache = open_cache(project, project_backbone(project))
    rows = cache.read([hashes[row.image_id] for row in left])
    assert [(row.guess, row.confidence) for row in left] == guesses(bundle.head, rows)
    best = predict(bundle.head, rows)["shape"].max(axis=1)
    np.testing.assert_allclose([row.confidence[LABEL] for row in left], best, atol=1e-4)


def test_the_first_round_waits_for_ten_labels(project: Project) -> None:
    """Five folds want two each."""
    change_setting(project.directory, "round", "batch_size", 18)  # four of them blind
    project = Project(project.directory)
    open_round(project)
    push_round(project, SimulatedOracle(project))
    rows = told(project, 1)
    answer(project, rows[:9])
    assert not is_due(project)
    answer(project, rows[9:10])
    assert is_due(project)
    found = rescore(project, Shown())
    assert (found["labels"], found["by"]) == (10, "margin")  # typiclust scores no image by itself
    assert all(row.guess for row in told(project, 1) if row.state == "pushed")


def test_off_by_a_setting(waiting: Project) -> None:
    change_setting(waiting.directory, "round", "rescore", False)
    project = Project(waiting.directory)
    answer(project, told(project)[:1])
    assert not is_due(project)


def test_not_while_queries_are_still_to_be_pushed_or_none_waits(waiting: Project) -> None:
    rows = told(waiting)
    with waiting.database.session() as session:
        session.get_one(QueryRow, rows[-1].uid).state = "chosen"
    answer(waiting, rows[:1])
    assert not is_due(waiting)
    with waiting.database.session() as session:
        session.get_one(QueryRow, rows[-1].uid).state = "pushed"
    assert is_due(waiting)
    answer(waiting, rows[1:])
    assert not is_due(waiting)  # only blind ones wait, and they stay where they are
    close_round(waiting)
    assert not is_due(waiting)


def test_queries_that_are_pushed_late_are_scored_with_the_others(waiting: Project) -> None:
    rows = told(waiting)
    answer(waiting, rows[:1])
    rescore(waiting, Shown())
    with waiting.database.session() as session:
        session.get_one(QueryRow, rows[-1].uid).state = "chosen"
    push_round(waiting, SimulatedOracle(waiting))
    assert is_due(waiting)


def test_who_scores_by_itself() -> None:
    settings = RoundSettings(sampler="ratio", sampler_args={"level": "finest"})
    assert scorer(settings, "ratio")[1] == "ratio"
    assert scorer(settings, "entropy")[1] == "entropy"
    for other in ("badge", "by_budget", "typiclust", "random", "margin*10 | kmeans"):
        assert scorer(settings, other)[1] == "margin"


def test_labels_ask_for_an_order_and_the_last_one_for_the_next_round(waiting: Project) -> None:
    with waiting.database.session() as session:
        session.add(Meta(key=steps.ORACLE_PROJECT, value="1"))
    rows = [*told(waiting), *blind(waiting)]
    assert ("rescore", "") not in steps.wanted(waiting)
    answer(waiting, rows[:1])
    assert asked_after(waiting) == ("rescore", "")
    assert ("rescore", "") in steps.wanted(waiting)
    rescore(waiting, Shown())
    assert asked_after(waiting) is None
    answer(waiting, rows[1:])
    assert asked_after(waiting) == ("advance", "2")
    assert ("rescore", "") not in steps.wanted(waiting)


def asked_after(project: Project) -> tuple[str, str] | None:
    with project.database.reader() as session:
        return steps.after_labels(session, project)
