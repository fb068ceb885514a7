"""Accuracy with its interval: the formula by hand, and states in place of numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.accuracy import (
    Accuracy,
    MeanError,
    accuracy_of,
    errors_of,
    save_counts,
    save_errors,
    wilson,
)
from atlas.evaluation import absolute_errors, count_correct, predict, predict_numbers
from atlas.heads.tree import Tree
from atlas.store.database import Database
from atlas.store.tables import ModelRow
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

TREE = Taxonomy(("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")})
MEASURED = Taxonomy(("kind",), ("a", "b"), {}, ("length", "weight"))
Z = 1.959963984540054


def one_hot_head() -> Tree:
    """Feature i speaks for leaf i, features 3 and 4 for a colour."""
    head = Tree(5, TREE)
    with torch.no_grad():
        head.leaves.weight.copy_(10 * torch.eye(5)[:3])
        head.extra["colour"].weight.copy_(10 * torch.eye(5)[3:])
    return head


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson_by_known_values(correct: int, n: int, low: float, high: float) -> None:
    found = wilson(correct, n, min_labels=1)
    assert found.accuracy == correct / n
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_is_the_closed_formula() -> None:
    """(p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n)."""
    for n in (1, 7, 200, 5000):
        for correct in {0, 1, n // 3, n}:
            p = correct / n
            centre = p + Z**2 / (2 * n)
            reach = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
            found = wilson(correct, n, min_labels=1)
            assert found.low == pytest.approx((centre - reach) / (1 + Z**2 / n), abs=1e-9)
            assert found.high == pytest.approx((centre + reach) / (1 + Z**2 / n), abs=1e-9)


def test_no_audit_label_is_a_state_and_no_zero() -> None:
    assert wilson(0, 0, min_labels=30) == Accuracy("too_few_labels", None, None, None, 0)


def test_too_few_audit_labels_are_a_state_with_its_numbers() -> None:
    assert [wilson(n, n, min_labels=30).state for n in (29, 30)] == ["too_few_labels", "ok"]
    assert wilson(29, 29, min_labels=30).n == 29


def test_as_dict_is_what_reports_show() -> None:
    assert wilson(1, 2, min_labels=1).as_dict() == {
        "state": "ok",
        "accuracy": 0.5,
        "low": pytest.approx(0.0945, abs=1e-4),
        "high": pytest.approx(0.9055, abs=1e-4),
        "n": 2,
        "confidence": 0.95,
    }


def test_a_label_counts_down_to_its_level_only() -> None:
    """Row by row: both right; a dog for a cat (kind right); "pet" says nothing of the species."""
    rows = np.eye(5, dtype=np.float16)[[0, 1, 1, 2]]
    labels = [{LABEL: "pet/cat"}, {LABEL: "pet/cat"}, {LABEL: "pet"}, {LABEL: "pet"}]
    assert count_correct(one_hot_head(), rows, labels) == {
        "kind": (3, 4),
        "species": (1, 2),
        "colour": (0, 0),
    }


def test_a_shallow_leaf_counts_at_every_level_and_attributes_by_themselves() -> None:
    rows = np.eye(5, dtype=np.float16)[[2, 3]] + np.eye(5, dtype=np.float16)[[4, 2]]
    labels = [{LABEL: "rock", "colour": "red"}, {"colour": "red"}]
    assert count_correct(one_hot_head(), rows, labels) == {
        "kind": (1, 1),
        "species": (1, 1),
        "colour": (1, 2),
    }


def test_each_levels_answer_is_its_own_most_likely_class() -> None:
    """0.3 cat, 0.3 dog, 0.4 rock: the species is a rock, the kind is a pet (0.6)."""
    head = Tree(1, TREE)
    with torch.no_grad():
        head.leaves.bias.copy_(torch.tensor([0.3, 0.3, 0.4]).log())
    counts = count_correct(head, np.zeros((1, 1), np.float16), [{LABEL: "rock"}])
    assert (counts["kind"], counts["species"]) == ((0, 1), (1, 1))


def test_predict_in_chunks_is_predict_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float16)
    whole = predict(one_hot_head(), rows)
    monkeypatch.setattr("atlas.evaluation.CHUNK", 7)
    for task, probs in predict(one_hot_head(), rows).items():
        np.testing.assert_array_equal(probs, whole[task])


def test_accuracy_of_a_model_as_last_measured(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with database.session() as session:
        session.add(ModelRow(id="m0001", head="tree", fingerprint="f", labels=1, metrics={}))
        session.flush()
        save_counts(session, "m0001", {"kind": (1, 5), "species": (0, 0)})
        save_counts(session, "m0001", {"kind": (4, 5), "species": (0, 3)})  # measured again
        found = accuracy_of(session, "m0001", min_labels=4, tasks=["kind", "species", "colour"])
        none = accuracy_of(session, None, min_labels=4, tasks=["kind"])
    assert [(one.state, one.accuracy, one.n) for one in found.values()] == [
        ("ok", 0.8, 5),
        ("too_few_labels", 0.0, 3),
        ("too_few_labels", None, 0),
    ]
    assert none == {"kind": Accuracy("too_few_labels", None, None, None, 0)}


def ruler() -> Tree:
    """Length is 10 and twice the first feature; weight is the second feature."""
    head = Tree(2, MEASURED)
    with torch.no_grad():
        head.number_mean.copy_(torch.tensor([10.0, 0.0]))
        head.number_std.copy_(torch.tensor([2.0, 1.0]))
        for feature, name in enumerate(MEASURED.quantities):
            head.extra[name].weight[0, feature] = 1
    return head


def test_errors_by_hand() -> None:
    """Lengths said: 12, 14, 10; labelled 11, nothing, 13."""
    rows = np.array([[1, 5], [2, 5], [0, 5]], dtype=np.float16)
    labels = [{LABEL: "a", "length": "11"}, {LABEL: "b"}, {"length": "13", "weight": "4.5"}]
    found = absolute_errors(ruler(), rows, labels)
    assert {name: errors.tolist() for name, errors in found.items()} == {
        "length": [1, 3],
        "weight": [0.5],
    }
    assert count_correct(ruler(), rows, labels)["kind"][1] == 2


def test_numbers_in_chunks_are_numbers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(23, 2)).astype(np.float16)
    whole = predict_numbers(ruler(), rows)
    np.testing.assert_allclose(whole["length"], 10 + 2 * rows[:, 0].astype(np.float32), rtol=1e-6)
    monkeypatch.setattr("atlas.evaluation.CHUNK", 7)
    for name, values in predict_numbers(ruler(), rows).items():
        np.testing.assert_array_equal(values, whole[name])


def test_no_rows_and_no_quantities() -> None:
    none = np.zeros((0, 2), dtype=np.float16)
    assert {n: v.shape for n, v in predict_numbers(ruler(), none).items()} == {
        "length": (0,),
        "weight": (0,),
    }
    rows = np.zeros((1, 5), dtype=np.float16)
    assert absolute_errors(one_hot_head(), rows, [{LABEL: "rock"}]) == {}


def test_mean_error_of_a_model_as_last_measured(tmp_path: Path) -> None:
    """Errors 1, 2, 3, 2: mean 2, s² = 2/3, t(0.975; 3) = 3.1824: 2 ± 3.1824·√(2/3)/2 = 1.2992."""
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with database.session() as session:
        metrics = {"fit_s": 1.0}
        session.add(ModelRow(id="m0001", head="tree", fingerprint="f", labels=1, metrics=metrics))
        session.flush()
        unmeasured = errors_of(session, "m0001", min_labels=4, quantities=["length"])
        save_errors(session, "m0001", {"length": np.ones(9), "weight": np.ones(3)})
        again = {
            "length": np.array([1.0, 2, 3, 2]),
            "weight": np.array([5.0]),
            "age": np.zeros(0),
        }
        save_errors(session, "m0001", again)
        session.flush()
        session.expire_all()
        names = ["length", "weight", "age"]
        found = errors_of(session, "m0001", min_labels=4, quantities=names)
        none = errors_of(session, None, min_labels=4, quantities=["length"])
        assert session.get_one(ModelRow, "m0001").metrics["fit_s"] == 1.0
        assert session.get_one(ModelRow, "m0001").metrics["errors"]["age"]["n"] == 0
    length = found["length"]
    assert (length.state, length.mean_absolute_error, length.n) == ("ok", 2, 4)
    assert (length.low, length.high) == (
        pytest.approx(0.7008, abs=1e-4),
        pytest.approx(3.2992, abs=1e-4),
    )
    assert found["weight"] == MeanError("too_few_labels", 5, None, None, 1)
    nothing = MeanError("too_few_labels", None, None, None, 0)
    assert found["age"] == unmeasured["length"] == none["length"] == nothing


def test_the_interval_of_an_error_does_not_reach_below_zero(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'a.db'}").session() as session:
        session.add(ModelRow(id="m0001", head="tree", fingerprint="f", labels=1, metrics={}))
        session.flush()
        save_errors(session, "m0001", {"length": np.array([0.0, 0, 9])})
        found = errors_of(session, "m0001", min_labels=3, quantities=["length"])["length"]
    assert (found.state, found.mean_absolute_error, found.low) == ("ok", 3, 0)
    assert found.high is not None and found.high > 9
