"""The whole order on real parts, with an oracle that knows the truth."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import json
from pathlib import Path
import shutil

import pytest
from sqlalchemy import func, select

from atlas import registry
from atlas.choosing import Ask
from atlas.embedding import embed_pool
from atlas.errors import (
    CacheError,
    ImageError,
    OracleRefused,
    OracleUnreachable,
    PluginError,
    PoolExhausted,
    SamplerError,
    TaxonomyError,
)
from atlas.labels import record, training_labels
from atlas.oracle.simulated import SimulatedOracle
from atlas.pool import ingest
from atlas.project import Project
from atlas.rounds import (
    close_round,
    collect,
    count_labels,
    is_complete,
    open_round,
    push_round,
    queries_of,
)
from atlas.settings import change_setting
from atlas.status import accuracy, models, rounds, status
from atlas.store.tables import AnnotationRow, Image, LeftOut, ModelRow, QueryRow, Round
from atlas.train import measure_current, train_model
from atlas.types import LABEL, Annotation, Query, utc_now

Draw = Callable[..., Path]


def go_round(project: Project, ask: Ask | None = None) -> str | None:
    """Open, push, answer everything, close."""
    oracle = SimulatedOracle(project)
    number = open_round(project, ask)
    push_round(project, oracle)
    collect(project, oracle)
    with project.database.reader() as session:
        assert is_complete(session, number)
    return close_round(project)


def queries(project: Project, number: int, kind: str = "query") -> list[QueryRow]:
    with project.database.reader() as session:
        found = select(QueryRow).where(QueryRow.round_number == number, QueryRow.kind == kind)
        return list(session.scalars(found.order_by(QueryRow.priority)))


def asked(project: Project, number: int) -> set[str]:
    return {row.image_id for row in queries(project, number)}


def round_row(project: Project, number: int) -> Round:
    with project.database.reader() as session:
        return session.get_one(Round, number)


def say(project: Project, rows: Sequence[QueryRow], event: str, **values: str) -> None:
    with project.database.session() as session:
        given = [
            Annotation(f"{event}-{row.uid}", row.uid, event, utc_now(), values)  # type: ignore[arg-type]
            for row in rows
        ]
        record(session, given, received_by="poll", taxonomy=project.taxonomy)


def test_rounds_teach(project: Project) -> None:
    """32 images to ask about, 8 to measure on, 4 shapes: chance is 2 of 8, for families 4 of 8."""
    found = [go_round(project) for _ in range(5)]
    assert found == ["m0001", "m0002", "m0003", "m0004", "m0005"]
    after = accuracy(project)
    assert after["shape"]["n"] == after["family"]["n"] == 8
    assert after["shape"]["state"] == "ok"
    assert after["shape"]["accuracy"] >= 6 / 8
    assert after["family"]["accuracy"] >= 7 / 8
    listed = rounds(project)
    assert [one["labels"] for one in listed] == [4, 8, 12, 16, 20]
    assert [one["accuracy"]["shape"]["n"] for one in listed] == [4, 8, 8, 8, 8]
    assert [one["sampler"] for one in listed] == ["kmeans", *["margin"] * 4]
    assert listed[0]["note"] == "no model yet: kmeans instead of margin"
    assert all(one["label_to_queue_s"] >= 0 for one in listed[:-1])


def test_opening_twice_is_one_round(project: Project) -> None:
    assert open_round(project) == 1
    before = [row.uid for row in queries(project, 1)]
    assert open_round(project, Ask(n=9)) == 1
    assert [row.uid for row in queries(project, 1)] == before


def test_opening_at_once_is_one_round(project: Project) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: open_round(project), range(4))) == {1}
    assert len(queries(project, 1)) == 4


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


def test_no_image_is_asked_about_twice(project: Project) -> None:
    chosen: list[str] = []
    for number in range(1, 9):
        go_round(project)
        chosen += asked(project, number)
    assert len(chosen) == len(set(chosen)) == 32


def test_the_model_guesses_for_queries_and_not_for_audit_images(project: Project) -> None:
    go_round(project)
    assert all(row.guess == {} for row in queries(project, 1))
    open_round(project)
    for row in queries(project, 2):
        assert row.guess[LABEL] in project.taxonomy.leaves
        assert 0.25 <= row.confidence[LABEL] <= 1
        assert row.reason.startswith("between ")
    assert all((row.guess, row.reason) == ({}, "") for row in queries(project, 2, "audit"))


def test_queries_of_is_plain_data_in_order(project: Project) -> None:
    open_round(project)
    listed = queries_of(project, 1)
    assert [one["priority"] for one in listed] == list(range(8))
    assert json.loads(json.dumps(listed)) == listed


class Notes(SimulatedOracle):
    """Notes every push; may lose its answer on the way back."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.pushed: list[list[Query]] = []
        self.answers_get_lost = False

    def push(self, queries: Sequence[Query]) -> dict[str, str]:
        self.pushed.append(list(queries))
        if self.answers_get_lost:
            raise OracleUnreachable("the answer got lost")
        return super().push(queries)


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
    location = _location(empty_project, first)
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
        patch.setattr("atlas.rounds.count_labels", _crash)
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
        patch.setattr("atlas.train.save_counts", _crash)
        with pytest.raises(KeyboardInterrupt):
            close_round(project)
    assert (project.models / "m0001").is_dir()
    assert models(project) == []
    assert close_round(project) == "m0001"


def test_a_crash_while_opening_leaves_no_round(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("atlas.rounds.choose", _crash)
        with pytest.raises(KeyboardInterrupt):
            open_round(project)
    assert rounds(project) == []
    assert open_round(project) == 1


def _location(project: Project, row: QueryRow) -> Path:
    with project.database.reader() as session:
        return Path(project.absolute(session.get_one(Image, row.image_id).location))


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_last_batch_takes_what_is_left(project: Project) -> None:
    go_round(project, Ask(n=30))
    open_round(project)
    assert len(queries(project, 2)) == 2


def test_more_than_is_left_is_an_error_with_both_numbers(project: Project) -> None:
    with pytest.raises(PoolExhausted, match="asked for 33 images, the pool has 32 left"):
        open_round(project, Ask(n=33))
    assert rounds(project) == []
    go_round(project, Ask(n=32))
    with pytest.raises(PoolExhausted, match="asked for 4 images, the pool has 0 left"):
        open_round(project)
    assert len(rounds(project)) == 1


def test_new_images_are_asked_about_after_they_are_embedded(
    project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    go_round(project, Ask(n=32))
    ingest(project, draw_pool(tmp_path / "more", per_leaf=5, seed=7), truth="folders")
    with pytest.raises(CacheError, match="have no bottleneck yet; run `atlas embed`"):
        open_round(project)
    embed_pool(project)
    assert open_round(project) == 2


def test_unknown_sampler_and_level_open_nothing(project: Project) -> None:
    with pytest.raises(PluginError, match="unknown sampler 'magic'; known: entropy, k_center"):
        open_round(project, Ask(sampler="magic"))
    with pytest.raises(PluginError, match="random does not take level"):
        open_round(project, Ask(sampler="random", level="shape"))
    go_round(project)
    with pytest.raises(SamplerError, match="no level 'colour' to sample by; known: family, shape"):
        open_round(project, Ask(sampler="entropy", level="colour"))
    assert len(rounds(project)) == 1


@pytest.mark.parametrize("sampler", ["random", "k_center", "kmeans", "entropy", "least_confidence"])
def test_each_sampler_makes_a_round(project: Project, sampler: str) -> None:
    go_round(project)
    go_round(project, Ask(sampler=sampler))
    assert [one["sampler"] for one in rounds(project)] == ["kmeans", sampler]


def test_a_model_of_another_backbone_is_not_asked(project: Project) -> None:
    """Its head would read the new vectors as nonsense: cold start, until it is trained again."""
    go_round(project)
    change_setting(project.directory, "backbone", "image_size", 48)
    changed = Project(project.directory)
    embed_pool(changed)
    open_round(changed)
    assert round_row(changed, 2).sampler == "kmeans"
    assert all(row.guess == {} for row in queries(changed, 2))


def test_a_model_of_another_taxonomy_is_not_asked(project: Project) -> None:
    """A class was added: its guesses and its uncertainty know nothing of that class."""
    go_round(project)
    path = project.directory / "taxonomy.yaml"
    path.write_text(path.read_text().replace("ring:", "egg: \n    ring:"))
    changed = Project(project.directory)
    assert "round/egg" in changed.taxonomy.leaves
    open_round(changed)
    assert round_row(changed, 2).sampler == "kmeans"
    assert all(row.guess == {} for row in queries(changed, 2))
    push_round(changed, SimulatedOracle(changed))
    collect(changed, SimulatedOracle(changed))
    assert measure_current(changed) == "m0001"
    assert close_round(changed) == "m0002"
    open_round(changed)
    assert round_row(changed, 3).sampler == "margin"


def test_labels_outside_an_edited_taxonomy_say_so(project: Project) -> None:
    go_round(project)
    path = project.directory / "taxonomy.yaml"
    path.write_text(path.read_text().replace("ball:", "sphere:").replace("ring:", "hoop:"))
    with pytest.raises(TaxonomyError, match="is not in the taxonomy; known: .*round/sphere"):
        train_model(Project(project.directory))


def test_late_audit_labels_are_measured_without_training(project: Project) -> None:
    oracle = SimulatedOracle(project)
    assert measure_current(project) is None
    go_round(project)
    assert accuracy(project)["shape"]["n"] == 4
    open_round(project)
    push_round(project, oracle)
    collect(project, oracle)
    assert measure_current(project) == "m0001"
    assert accuracy(project)["shape"]["n"] == 8
    change_setting(project.directory, "backbone", "image_size", 48)
    assert measure_current(Project(project.directory)) == "m0001"  # the number stands
    assert accuracy(project)["shape"]["n"] == 8


def test_training_between_rounds_counts_as_a_model(project: Project) -> None:
    go_round(project)
    assert train_model(project) == "m0002"
    listed = {one["model"]: one for one in models(project)}
    assert (listed["m0002"]["round"], listed["m0001"]["round"]) == (None, 1)
    assert listed["m0002"]["current"]
    with project.database.session() as session:
        registry.roll_back(session)
    assert status(project)["model"] == "m0001"


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


def test_the_simulation_needs_truth(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    ingest(empty_project, pool)
    with pytest.raises(OracleRefused, match="ingest with --truth folders"):
        SimulatedOracle(empty_project).check()


def test_some_truth_is_enough_and_the_rest_is_skipped(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    ingest(empty_project, pool / "round", truth="")
    ingest(empty_project, pool, truth="folders")
    embed_pool(empty_project)
    oracle = SimulatedOracle(empty_project)
    oracle.check()
    open_round(empty_project, Ask(n=20, sampler="random"))
    push_round(empty_project, oracle)
    collect(empty_project, oracle)
    states = {row.state for row in queries(empty_project, 1)}
    assert states == {"answered", "skipped"}
    assert close_round(empty_project) == "m0001"
