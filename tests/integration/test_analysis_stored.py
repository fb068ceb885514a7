"""What the worker stores of a model, and what is read from it without torch."""

from dataclasses import replace
import subprocess
import sys

import numpy as np
import pytest
from sqlalchemy import func, select, update

from atlas.accuracy import accuracy_of
from atlas.analysis import stored
from atlas.analysis.classes import class_accuracies, judge_audit
from atlas.analysis.disagreements import disagreements
from atlas.analysis.doubted import doubts
from atlas.analysis.people import team
from atlas.analysis.points import points
from atlas.analysis.predicting import analyse
from atlas.analysis.stored import AUDIT, OUT_OF_FOLD, load_guesses, load_predictions
from atlas.analysis.waiting import waiting
from atlas.bottleneck import BottleneckCache
from atlas.errors import ModelError, TaxonomyError
from atlas.evaluation import predict
from atlas.labels import record, training_labels
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.promotion import current_id
from atlas.registry import load_bundle
from atlas.rounds import open_round, push_round
from atlas.store.tables import Image, QueryRow
from atlas.types import Annotation, utc_now
from tests.rounds_support import go_round, queries

LEVEL = "shape"


@pytest.fixture
def trained(project: Project) -> Project:
    """After three rounds: 12 labels, 8 audit labels, model m0003, which is analysed."""
    for _ in range(3):
        go_round(project)
    analyse(project)
    return project


def current(project: Project) -> str:
    with project.database.reader() as session:
        found = current_id(session)
    assert found is not None
    return found


def test_class_by_class_adds_up_to_the_accuracy_that_was_measured(trained: Project) -> None:
    found = class_accuracies(trained, LEVEL)
    assert [one["class"] for one in found] == list(trained.taxonomy.classes[LEVEL])
    assert set(found[0]) == {"class", "accuracy", "low", "high", "n", "state"}
    with trained.database.reader() as session:
        whole = accuracy_of(session, current(trained), min_labels=4, tasks=[LEVEL])[LEVEL]
    assert sum(one["n"] for one in found) == whole.n == 8
    right = sum(round(one["accuracy"] * one["n"]) for one in found if one["n"])
    assert right / 8 == pytest.approx(whole.accuracy)
    assert {one["state"] for one in found if one["n"] < 4} <= {"too_few_labels"}


def test_before_the_first_model_every_class_is_unknown(project: Project) -> None:
    found = class_accuracies(project, LEVEL)
    assert {(one["n"], one["accuracy"], one["state"]) for one in found} == {
        (0, None, "too_few_labels")
    }


def test_a_model_that_was_never_analysed_says_so(project: Project) -> None:
    go_round(project)
    with pytest.raises(ModelError, match=r"not measured for model m0001.*train again"):
        class_accuracies(project, LEVEL)
    with pytest.raises(ModelError, match="no model 'm0009'"):
        class_accuracies(project, LEVEL, "m0009")
    with pytest.raises(TaxonomyError, match="no level 'colour'; known: family, shape"):
        class_accuracies(project, "colour")


def test_stored_predictions_are_those_of_the_model(trained: Project) -> None:
    model_id = current(trained)
    bundle = load_bundle(trained.models / model_id)
    cache = BottleneckCache(
        trained.bottlenecks, fingerprint=bundle.fingerprint, features=bundle.head.features
    )
    with trained.database.reader() as session:
        rows = session.execute(select(Image.id, Image.sha256, Image.split)).all()
    hashes = {row.id: row.sha256 for row in rows}
    audit = load_predictions(trained, model_id, AUDIT)
    assert set(audit.ids) == {row.id for row in rows if row.split == "audit"}
    expected = predict(bundle.head, cache.rows([hashes[one] for one in audit.ids]))
    np.testing.assert_array_equal(audit.probs[LEVEL], expected[LEVEL])
    guesses = load_guesses(trained, model_id)
    expected = predict(bundle.head, cache.rows([hashes[one] for one in guesses.ids]))
    np.testing.assert_array_equal(guesses.best[LEVEL], expected[LEVEL].argmax(axis=1))
    np.testing.assert_array_equal(guesses.sure[LEVEL], expected[LEVEL].max(axis=1))


def test_a_label_that_comes_later_counts_at_once(trained: Project) -> None:
    """Every audit image is predicted, so an audit label needs no new analysis."""
    before = judge_audit(trained, LEVEL, current(trained))
    row = queries(trained, 1, "audit")[0]
    other = next(one for one in trained.taxonomy.leaves if one != before.classes[0])
    with trained.database.session() as session:
        given = Annotation("later", row.uid, "submitted", utc_now(), {"label": other}, "somebody")
        again = Annotation("last", row.uid, "submitted", utc_now(), {"label": other}, "another")
        record(session, [given, again], received_by="poll", taxonomy=trained.taxonomy)
    after = judge_audit(trained, LEVEL, current(trained))
    place = after.ids.index(row.image_id)
    assert after.classes[after.labels[place]] == other


def test_out_of_fold_predictions_are_of_the_labels_alone(trained: Project) -> None:
    found = load_predictions(trained, current(trained), OUT_OF_FOLD)
    with trained.database.reader() as session:
        assert set(found.ids) == set(training_labels(session))
    assert np.isfinite(found.probs[LEVEL]).all()


def test_what_is_stale_is_analysed_once(trained: Project) -> None:
    with trained.database.reader() as session:
        assert stored.stale_model(trained, session) is None
    go_round(trained)
    with trained.database.reader() as session:
        assert stored.stale_model(trained, session) == "m0004"
    analyse(trained)
    root = stored.root_of(trained)
    assert not (root / "m0003" / "pool.npz").exists()  # of one model alone the map is kept
    assert class_accuracies(trained, LEVEL, "m0003")  # its figures are
    with trained.database.reader() as session:
        assert stored.stale_model(trained, session) is None


def test_a_damaged_file_says_how_to_mend_it(trained: Project) -> None:
    path = stored.root_of(trained) / "m0003" / "audit.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="is damaged"):
        class_accuracies(trained, LEVEL)


def test_the_map_knows_labels_guesses_and_rounds(trained: Project) -> None:
    found = points(trained, LEVEL)
    assert len(found.ids) == found.pool == 32
    assert found.places.shape == (32, 2)
    assert sorted(found.ids) == list(found.ids)
    with trained.database.reader() as session:
        labels = training_labels(session)
        asked = session.execute(
            select(QueryRow.image_id, func.min(QueryRow.round_number)).group_by(QueryRow.image_id)
        )
        first = dict(asked.all())
    for row, image_id in enumerate(found.ids):
        label = labels.get(image_id, {}).get("label")
        assert found.label[row] == (found.classes.index(label) if label else -1)
        assert found.asked[row] == first.get(image_id, 0)
    assert ((found.predicted >= 0) & (found.sure > 0)).all()


def test_an_image_without_a_guess_is_not_an_unsure_one(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stored.load_guesses(trained, "m0003")
    fewer = replace(
        said,
        ids=said.ids[1:],
        best={level: best[1:] for level, best in said.best.items()},
        sure={level: sure[1:] for level, sure in said.sure.items()},
    )
    monkeypatch.setattr("atlas.analysis.points.load_guesses", lambda project, model_id: fewer)
    found = points(trained, LEVEL)
    row = found.ids.index(said.ids[0])
    assert (found.predicted[row], found.sure[row]) == (-1, -1)
    assert (np.delete(found.sure, row) > 0).all()


def test_images_that_came_after_the_map_are_not_on_it_yet(trained: Project) -> None:
    with trained.database.session() as session:
        session.execute(update(Image).where(Image.split == "audit").values(split="pool"))
    assert len(points(trained, LEVEL).ids) == 32
    assert points(trained, LEVEL).pool == 40


def test_without_a_model_there_is_no_map(project: Project) -> None:
    with pytest.raises(ModelError, match="no model yet"):
        points(project, LEVEL)


def test_the_queue_is_told_in_order(project: Project) -> None:
    assert waiting(project, start=0, limit=10).round_number is None
    number = open_round(project)
    push_round(project, SimulatedOracle(project))
    found = waiting(project, start=0, limit=5)
    assert (found.round_number, found.total, len(found.listed)) == (number, 8, 5)
    assert [one.place for one in found.listed] == [1, 2, 3, 4, 5]
    rest = waiting(project, start=5, limit=5)
    assert [one.place for one in rest.listed] == [6, 7, 8]
    everything = [*found.listed, *rest.listed]
    assert sum(one.kind == "audit" for one in everything) == 4
    for one in everything:
        assert (one.score is None) == (one.kind == "audit")


def said(project: Project, row: QueryRow, who: str, label: str, prefill: str = "none") -> None:
    with project.database.session() as session:
        answer = Annotation(
            f"{who}-{row.uid}",
            row.uid,
            "submitted",
            utc_now(),
            {"label": label},
            who,
            {"ann": 2.0, "bob": 6.0}[who],
            prefill,  # type: ignore[arg-type]
        )
        record(session, [answer], received_by="poll", taxonomy=project.taxonomy)


def test_a_guess_is_kept_at_a_level_whatever_else_was_changed(project: Project) -> None:
    number = open_round(project)
    push_round(project, SimulatedOracle(project))
    a, b, _, _ = queries(project, number)
    with project.database.session() as session:
        session.get_one(QueryRow, a.uid).guess = {"label": "round/ball"}
    said(project, a, "ann", "round/ring", "changed")  # keeps the family
    said(project, b, "ann", "round/ball", "changed")  # of a guess that nobody knows any more
    for level, kept in (("family", 0.5), ("shape", 0.0)):
        (ann,) = team(project, level).people
        assert (ann.accepted.accuracy, ann.accepted.n) == (kept, 2)


def test_people_are_compared_where_they_labelled_the_same(project: Project) -> None:
    number = open_round(project)
    push_round(project, SimulatedOracle(project))
    a, b, c, _ = queries(project, number)
    said(project, a, "ann", "round/ball", "accepted")
    said(project, a, "bob", "round/ball")
    said(project, b, "ann", "round/ball", "accepted")
    said(project, b, "bob", "round/ring")
    said(project, c, "ann", "round", "changed")  # stops half-way: says nothing of the shape
    said(project, c, "bob", "angular/box")
    found = team(project, "shape")
    assert found.shared == 2
    ann, bob = found.people
    assert (ann.annotator, ann.answered, ann.seconds) == ("ann", 3, 2.0)
    assert (ann.agreement.accuracy, ann.agreement.n) == (0.5, 2)
    assert ann.accepted.accuracy == pytest.approx(2 / 3)
    assert ann.accepted.n == 3
    assert (bob.seconds, bob.accepted.n) == (6.0, 0)
    # Called a ball by somebody: a and b, by everybody: a. Called a ring: b alone.
    assert (found.classes["round/ball"].accuracy, found.classes["round/ball"].n) == (0.5, 2)
    assert (found.classes["round/ring"].accuracy, found.classes["round/ring"].n) == (0.0, 1)
    # P = 1/2, balls are 3 of 4 answers: chance = 9/16 + 1/16
    assert found.kappa == pytest.approx((0.5 - 0.625) / 0.375)
    assert team(project, "family").classes["round"].n == 3
    split = disagreements(project, "shape", start=0, limit=10).listed
    assert {one.image for one in split} == {b.image_id, c.image_id}
    of_b = next(one for one in split if one.image == b.image_id)
    assert of_b.said == {"ann": "round/ball", "bob": "round/ring"}
    assert (of_b.label, of_b.agreement, of_b.task) == ("round/ring", 0.5, b.uid)


def test_a_planted_error_is_doubted(project: Project) -> None:
    """Of 24 labels of colours that a linear head tells apart, one is wrong."""
    for _ in range(6):
        go_round(project)
    row = queries(project, 2)[0]
    with project.database.reader() as session:
        truth = session.get_one(Image, row.image_id).truth["label"]
    wrong = next(one for one in project.taxonomy.leaves if not one.startswith(truth.split("/")[0]))
    with project.database.session() as session:
        answer = Annotation(
            f"sim:{row.uid}", row.uid, "submitted", utc_now(), {"label": wrong}, "x"
        )
        record(session, [answer], received_by="poll", taxonomy=project.taxonomy)
    go_round(project)
    analyse(project)
    found = doubts(project, "family", current(project), limit=5)
    assert found.n == 28
    doubt = next(one for one in found.listed if one.image == row.image_id)
    assert (doubt.given, doubt.suggested) == (wrong.split("/")[0], truth.split("/")[0])
    assert doubt.suggested_probability > doubt.given_probability
    assert "x" in doubt.annotators
    with project.database.session() as session:  # looked at again, and saved as it was
        again = replace(answer, updated_at=utc_now())
        record(session, [again], received_by="poll", taxonomy=project.taxonomy)
    left = doubts(project, "family", current(project), limit=5)
    assert row.image_id not in {one.image for one in left.listed}
    assert (left.found, left.confirmed) == (found.found - 1, found.confirmed + 1)


def test_looking_needs_no_torch() -> None:
    code = """if True:
        import sys
        from atlas.analysis import (agreement, automation, calibration, classes, doubted, intervals,
            label_errors, people, points, pool_map, stored, waiting)
        assert not [name for name in ("torch", "timm", "faiss") if name in sys.modules]
    """
    subprocess.run([sys.executable, "-c", code], check=True)
