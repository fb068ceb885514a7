"""Accuracy with its interval: the formula by hand, and states in place of numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.accuracy import Accuracy, accuracy_of, save_counts, wilson
from atlas.evaluation import count_correct, predict
from atlas.heads.tree import Tree
from atlas.store.database import Database
from atlas.store.tables import ModelRow
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

TREE = Taxonomy(("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")})
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
