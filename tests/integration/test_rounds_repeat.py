"""Every step of a round may be repeated, come late, or be cut short by a crash."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rounds_support import Notes, asked, crash, location_of, queries, round_row, say
from sqlalchemy import func, select

from atlas.batches import Ask
from atlas.embedding import embed_pool
from atlas.errors import (
    ImageError,
    OracleUnreachable,
)
from atlas.oracle.simulated import SimulatedOracle
from atlas.pool import ingest
from atlas.project import Project
from atlas.round_state import is_complete
from atlas.rounds import (
    close_round,
    collect,
    open_round,
    push_round,
)
from atlas.status import models, rounds
from atlas.store.tables import AnnotationRow, Image, LeftOut, ModelRow
from atlas.types import LABEL

Draw = Callable[..., Path]


def test_opening_twice_is_one_round(project: Project) -> None:
    assert open_round(project) == 1
    before = [row.uid for row in queries(project, 1)]
    assert open_round(project, Ask(n=9)) == 1
    assert [row.uid for row in queries(project, 1)] == before


def test_opening_at_once_is_one_round(project: Project) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: open_round(project), range(4))) == {1}
    assert len(queries(project, 1)) == 4


def test_pushing_twice_is_one_push(project: Project) -> None:
    oracle = Notes(project)
    assert push_round(project, oracle) == 0  # no round is open
    open_round(project)
    assert push_round(project, oracle) == 8
    assert push_round(project, oracle) == 0
    (pushed,) = oracle.pushed
    assert [query.priority for query in pushed] == list(range(8))
    assert all(Path(query.location).is_file() for query in pushed)
    row = round_row(project, 1)
    assert (row.steps, row.pushed_at is not None) == (["chosen", "pushed"], True)
    assert {one.state for one in queries(project, 1)} == {"pushed"}


def test_a_push_whose_answer_was_lost_is_repeated_as_it_was(project: Project) -> None:
    oracle = Notes(project)
    open_round(project)
    oracle.answers_get_lost = True
    with pytest.raises(OracleUnreachable):
        push_round(project, oracle)
    assert {one.state for one in queries(project, 1)} == {"chosen"}
    oracle.answers_get_lost = False
    assert push_round(project, oracle) == 8
    assert oracle.pushed[0] == oracle.pushed[1]  # the same uids: the oracle finds its tasks


def test_a_picture_that_vanished_before_the_push_is_left_out(
    empty_project: Project, draw_pool: Draw
) -> None:
    ingest(empty_project, draw_pool(empty_project.directory / "pool"), truth="folders")
    embed_pool(empty_project)
    open_round(empty_project)
    first, *_ = queries(empty_project, 1)
    location = location_of(empty_project, first)
    location.unlink()
    oracle = Notes(empty_project)
    assert push_round(empty_project, oracle) == 7
    assert first.uid not in {query.uid for query in oracle.pushed[0]}
    assert collect(empty_project, oracle) == 7
    with empty_project.database.reader() as session:
        assert is_complete(session, 1)
        listed = list(session.scalars(select(LeftOut.location)))
    assert listed == [location.relative_to(empty_project.directory).as_posix()]
    assert close_round(empty_project) == "m0001"
    assert open_round(empty_project, Ask(n=28)) == 2  # all but the three answered and the lost one


def test_when_no_picture_can_be_read_nothing_is_pushed_or_left_out(
    empty_project: Project, draw_pool: Draw
) -> None:
    """A disk that is not mounted: the round waits for it."""
    pool = draw_pool(empty_project.directory / "pool")
    ingest(empty_project, pool, truth="folders")
    embed_pool(empty_project)
    open_round(empty_project)
    pool.rename(empty_project.directory / "elsewhere")
    with pytest.raises(ImageError, match="none of the 8 pictures of the open round can be read"):
        push_round(empty_project, SimulatedOracle(empty_project))
    (empty_project.directory / "elsewhere").rename(pool)
    assert push_round(empty_project, SimulatedOracle(empty_project)) == 8


def test_an_answer_may_be_faster_than_the_push(project: Project) -> None:
    """The webhook comes before Atlas has noted that it pushed."""
    open_round(project)
    first, *_ = queries(project, 1)
    say(project, [first], "submitted", label="round/ball")
    assert push_round(project, SimulatedOracle(project)) == 7
    assert queries(project, 1)[0].state == "answered"


def test_collecting_twice_records_once(project: Project) -> None:
    oracle = SimulatedOracle(project)
    open_round(project)
    assert collect(project, oracle) == 0  # nothing was pushed
    push_round(project, oracle)
    assert collect(project, oracle) == 8
    assert collect(project, oracle) == 0
    with project.database.reader() as session:
        assert session.scalar(select(func.count()).select_from(AnnotationRow)) == 8


def test_a_round_is_complete_when_all_is_answered_or_skipped(project: Project) -> None:
    open_round(project)
    push_round(project, SimulatedOracle(project))
    rows = [*queries(project, 1), *queries(project, 1, "audit")]
    say(project, rows[:3], "submitted", label="round/ball")
    say(project, rows[3:7], "skipped")
    with project.database.reader() as session:
        assert not is_complete(session, 1)
    say(project, rows[7:], "skipped")
    with project.database.reader() as session:
        assert is_complete(session, 1)


def test_a_skipped_image_rests_for_a_round_and_comes_back(project: Project) -> None:
    open_round(project)
    push_round(project, SimulatedOracle(project))
    skipped = asked(project, 1)
    say(project, queries(project, 1), "skipped")
    assert close_round(project) is None
    assert open_round(project, Ask(n=28)) == 2  # everything but the four
    assert not skipped & asked(project, 2)
    close_round(project)
    assert open_round(project, Ask(n=4)) == 3
    assert asked(project, 3) == skipped  # the others wait for their answers


def test_a_skipped_audit_image_rests_for_a_round_too(project: Project) -> None:
    """Coming back at once would tell it from a query. There are eight, four a round."""
    open_round(project)
    push_round(project, SimulatedOracle(project))
    skipped = {row.image_id for row in queries(project, 1, "audit")}
    say(project, queries(project, 1, "audit"), "skipped")
    close_round(project)
    open_round(project)
    assert not skipped & {row.image_id for row in queries(project, 2, "audit")}
    push_round(project, SimulatedOracle(project))
    collect(project, SimulatedOracle(project))
    close_round(project)
    open_round(project)
    assert {row.image_id for row in queries(project, 3, "audit")} == skipped


def test_a_round_without_labels_closes_without_a_model(project: Project) -> None:
    open_round(project)
    push_round(project, SimulatedOracle(project))
    assert close_round(project) is None
    row = round_row(project, 1)
    assert (row.state, row.model_id, row.labels) == ("closed", None, 0)
    assert "no labels to train on yet" in row.note
    assert close_round(project) is None  # none is open
    assert open_round(project) == 2


def test_what_was_not_answered_before_the_close_still_may_be(project: Project) -> None:
    oracle = SimulatedOracle(project)
    open_round(project)
    push_round(project, oracle)
    late, *rest = queries(project, 1)
    with project.database.reader() as session:
        truth = {row.id: row.truth[LABEL] for row in session.scalars(select(Image))}
    for row in rest:
        say(project, [row], "submitted", label=truth[row.image_id])
    assert close_round(project) == "m0001"
    open_round(project)
    assert late.image_id not in asked(project, 2)
    assert collect(project, oracle) == 5  # the late query and the four audit images of round 1
    assert close_round(project) == "m0002"
    with project.database.reader() as session:
        assert session.get_one(ModelRow, "m0002").labels == 4


def test_what_was_never_pushed_is_free_again(project: Project) -> None:
    open_round(project)
    never = asked(project, 1)
    close_round(project)
    assert {row.state for row in queries(project, 1)} == {"skipped"}
    open_round(project, Ask(n=28))
    close_round(project)
    open_round(project, Ask(n=4))
    assert asked(project, 3) == never


def test_a_crash_after_the_training_is_safe(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = SimulatedOracle(project)
    open_round(project)
    push_round(project, oracle)
    collect(project, oracle)
    with monkeypatch.context() as patch:
        patch.setattr("atlas.rounds.count_labels", crash)
        with pytest.raises(KeyboardInterrupt):
            close_round(project)
    assert round_row(project, 1).state == "open"
    assert close_round(project) == "m0002"
    assert [one["model"] for one in models(project) if one["current"]] == ["m0002"]
    first, second = (project.models / name / "head.safetensors" for name in ("m0001", "m0002"))
    assert first.read_bytes() == second.read_bytes()
    assert round_row(project, 1).steps == ["chosen", "pushed", "trained", "closed"]


def test_a_crash_between_bundle_and_row_is_safe(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = SimulatedOracle(project)
    open_round(project)
    push_round(project, oracle)
    collect(project, oracle)
    with monkeypatch.context() as patch:
        patch.setattr("atlas.train.save_counts", crash)
        with pytest.raises(KeyboardInterrupt):
            close_round(project)
    assert (project.models / "m0001").is_dir()
    assert models(project) == []
    assert close_round(project) == "m0001"


def test_a_crash_while_opening_leaves_no_round(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("atlas.rounds.choose", crash)
        with pytest.raises(KeyboardInterrupt):
            open_round(project)
    assert rounds(project) == []
    assert open_round(project) == 1
