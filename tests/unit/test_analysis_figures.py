"""The arithmetic of the dashboard's figures, worked by hand."""

from collections import Counter
from itertools import combinations
from math import isnan, sqrt

import numpy as np
import pytest

from atlas.accuracy import wilson
from atlas.analysis.agreement import Share, fleiss_kappa, of_classes, with_others
from atlas.analysis.automation import automated, most_at
from atlas.analysis.calibration import reliability
from atlas.analysis.classes import Judged, confusion, judge, worst_mistakes
from atlas.analysis.intervals import wilson_bounds
from atlas.analysis.label_errors import suspects, thresholds
from atlas.analysis.pool_map import directions, sample
from atlas.analysis.stored import Predictions
from atlas.taxonomy import Taxonomy

# Five images of classes a, b, c. Most likely: a, b, b, c, a; labels: a, a, b, c, c.
PROBS = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.2, 0.7, 0.1],
        [0.1, 0.9, 0.0],
        [0.0, 0.4, 0.6],
        [0.5, 0.1, 0.4],
    ],
    dtype=np.float32,
)
JUDGED = Judged(("a", "b", "c"), ("i0", "i1", "i2", "i3", "i4"), np.array([0, 0, 1, 2, 2]), PROBS)
SURE = np.array([0.95, 0.9, 0.85, 0.7, 0.6, 0.6])
RIGHT = np.array([True, True, False, True, False, True])


def test_intervals_are_those_of_one_at_a_time() -> None:
    correct, n = np.array([0, 3, 10, 95, 0]), np.array([4, 10, 10, 100, 0])
    low, high = wilson_bounds(correct, n)
    for place in range(4):
        one = wilson(int(correct[place]), int(n[place]), min_labels=1)
        assert low[place] == pytest.approx(one.low)
        assert high[place] == pytest.approx(one.high)
    assert isnan(low[4])
    assert isnan(high[4])


def test_the_confusion_matrix_counts_labels_down_and_predictions_across() -> None:
    # i0: a as a, i1: a as b, i2: b as b, i3: c as c, i4: c as a
    assert confusion(JUDGED).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert JUDGED.right.tolist() == [True, False, True, True, False]
    assert JUDGED.sure == pytest.approx([0.8, 0.7, 0.9, 0.6, 0.5])


def test_the_worst_mistakes_show_a_wrong_picture_beside_a_right_one() -> None:
    first, second = worst_mistakes(JUDGED, limit=5)
    # Both happened once, of two images each; the order of the classes decides.
    assert (first.label, first.predicted, first.count, first.share) == ("a", "b", 1, 0.5)
    assert (first.wrong, first.right) == ("i1", "i2")
    assert (second.label, second.predicted, second.wrong, second.right) == ("c", "a", "i4", "i0")


def test_labels_that_stop_half_way_count_above_alone() -> None:
    taxonomy = Taxonomy(("kind", "breed"), ("pet/cat", "pet/dog", "wild/fox", "wild/elk"), {})
    kinds = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], dtype=np.float32)
    found = Predictions(("x", "y", "z"), {"kind": ("pet", "wild")}, {"kind": kinds})
    labels = {"x": {"label": "pet"}, "y": {"label": "pet/dog"}, "w": {"label": "wild"}}
    judged = judge(found, labels, taxonomy, "kind")  # z has no label, w no prediction
    assert judged.ids == ("x", "y")
    assert judged.labels.tolist() == [0, 0]
    assert judged.right.tolist() == [True, False]


def test_calibration_error_weighs_each_bin_by_its_predictions() -> None:
    sure = np.array([0.95, 0.95, 0.65, 0.65])
    right = np.array([True, True, True, False])
    found = reliability(sure, right, bins=10)
    # bin (0.9, 1]: 2 predictions, 0.95 said, 1.0 right; bin (0.6, 0.7]: 2, 0.65 said, 0.5 right
    assert found.n.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert found.right[[6, 9]] == pytest.approx([0.5, 1.0])
    assert found.error == pytest.approx(2 / 4 * 0.15 + 2 / 4 * 0.05)  # 0.1
    assert found.low[9] == pytest.approx(wilson(2, 2, min_labels=1).low)


def test_calibration_of_nothing_is_unknown() -> None:
    assert isnan(reliability(np.zeros(0), np.zeros(0, dtype=bool)).error)


def test_the_edges_of_the_bins_are_in_the_lower_one() -> None:
    found = reliability(np.array([0.0, 0.5, 1.0]), np.ones(3, dtype=bool), bins=2)
    assert found.n.tolist() == [2, 1]  # 0 and 0.5; 1


def test_coverage_and_accuracy_at_a_threshold() -> None:
    found = automated(SURE, RIGHT, np.array([0.0, 0.6, 0.7, 0.88, 0.99]))
    assert found.covered.tolist() == [6, 6, 4, 2, 0]
    assert found.correct.tolist() == [4, 4, 3, 2, 0]
    at = found.at(2)
    assert at["coverage"] == pytest.approx(4 / 6)
    assert at["accuracy"] == 0.75
    assert at["low"] == pytest.approx(wilson(3, 4, min_labels=1).low)
    assert found.at(4)["accuracy"] is None


def test_the_most_that_can_be_automated() -> None:
    # Sure at least 0.95: 1/1, 0.9: 2/2, 0.85: 2/3, 0.7: 3/4, 0.6: 4/6 (both at 0.6 or neither).
    found = most_at(SURE, RIGHT, target=0.7, surely=False)
    assert found is not None
    assert (found["threshold"], found["n"], found["accuracy"]) == (0.7, 4, 0.75)
    assert most_at(SURE, RIGHT, target=0.95, surely=False)["n"] == 2  # type: ignore[index]
    # 2 of 2 has the lower end 2 / (2 + 1.96²) = 0.34
    assert most_at(SURE, RIGHT, target=0.95, surely=True) is None
    cautious = most_at(SURE, RIGHT, target=0.34, surely=True)
    assert cautious is not None
    assert cautious["n"] == 2
    assert cautious["low"] == pytest.approx(2 / (2 + 1.959964**2))
    some = most_at(SURE, RIGHT, target=0.6, surely=False, least=5)
    assert some is not None
    assert (some["n"], some["accuracy"]) == (6, pytest.approx(4 / 6))
    assert most_at(SURE, RIGHT, target=0.7, surely=False, least=5) is None
    assert most_at(np.zeros(0), np.zeros(0, dtype=bool), target=0.9, surely=False) is None


def test_confident_learning_by_hand() -> None:
    probs = np.array(
        [
            [0.9, 0.1],  # given 0
            [0.8, 0.2],  # given 0
            [0.1, 0.9],  # given 0: looks like 1
            [0.3, 0.7],  # given 1
            [0.2, 0.8],  # given 1
            [0.55, 0.45],  # given 1: leans to 0, less than 0's own labels do
        ]
    )
    given = np.array([0, 0, 0, 1, 1, 1])
    # t_0 = (0.9 + 0.8 + 0.1) / 3 = 0.6, t_1 = (0.7 + 0.8 + 0.45) / 3 = 0.65
    assert thresholds(probs, given) == pytest.approx([0.6, 0.65])
    found = suspects(probs, given)
    assert found.rows.tolist() == [2]
    assert found.suggested.tolist() == [1]
    assert found.margins == pytest.approx([0.8])
    # C = [[2, 1], [0, 2]]: a third of the three labels 0 and none of the three labels 1
    assert found.estimate == pytest.approx(3 * 1 / 3)


def test_a_label_is_suspected_only_where_another_class_is_confident() -> None:
    probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.45, 0.55]])
    given = np.array([0, 0, 1, 0])
    # t_0 = (0.9 + 0.5 + 0.45) / 3 = 0.6167, t_1 = 0.9: row 3 leans to 1 with 0.55, not enough
    assert suspects(probs, given).rows.tolist() == []
    assert suspects(probs, given).estimate == 0


def test_a_class_without_labels_is_never_suggested() -> None:
    probs = np.array([[0.1, 0.0, 0.9], [0.6, 0.4, 0.0], [0.3, 0.7, 0.0]])
    found = suspects(probs, np.array([0, 0, 1]))
    assert 2 not in found.suggested


def test_suspects_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), 200)
    given = rng.integers(0, 4, 200)
    limits = [
        np.mean([p[k] for p, g in zip(probs, given, strict=True) if g == k]) for k in range(4)
    ]
    expected = {}
    for row, (p, g) in enumerate(zip(probs, given, strict=True)):
        reached = [k for k in range(4) if p[k] >= limits[k]]
        if reached and (best := max(reached, key=lambda k: p[k])) != g:
            expected[row] = best
    found = suspects(probs, given)
    assert dict(zip(found.rows.tolist(), found.suggested.tolist(), strict=True)) == expected
    assert (np.diff(found.margins) <= 0).all()


def test_kappa_of_two_people_by_hand() -> None:
    # Ten images: both say a on 4, both b on 3, they differ on 3.
    said = [{"p": "a", "q": "a"}] * 4 + [{"p": "b", "q": "b"}] * 3 + [{"p": "a", "q": "b"}] * 3
    # P = 7/10; a is 11 of 20 answers, b 9: chance = 0.3025 + 0.2025 = 0.505
    assert fleiss_kappa(said) == pytest.approx((0.7 - 0.505) / (1 - 0.505))
    assert fleiss_kappa([*said, {"p": "a"}]) == fleiss_kappa(said)  # alone: says nothing


def test_kappa_with_different_numbers_of_people() -> None:
    said = [{"p": "a", "q": "a", "r": "b"}, {"p": "b", "q": "b"}]
    # P_1 = (2·1 + 0) / (3·2) = 1/3, P_2 = 1; a 2 of 5, b 3 of 5: chance = 0.16 + 0.36 = 0.52
    assert fleiss_kappa(said) == pytest.approx((2 / 3 - 0.52) / 0.48)
    pairs = [np.mean([x == y for x, y in combinations(image.values(), 2)]) for image in said]
    shares = Counter(one for image in said for one in image.values())
    chance = sum((n / 5) ** 2 for n in shares.values())
    assert fleiss_kappa(said) == pytest.approx((np.mean(pairs) - chance) / (1 - chance))


def test_kappa_says_nothing_without_a_difference_to_find() -> None:
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([{"p": "a", "q": "a"}]) is None  # chance alone gives all of it


def test_agreement_with_most_of_the_others() -> None:
    said = [
        {"p": "a", "q": "a", "r": "b"},  # p agrees: of q and r both classes lead
        {"p": "b", "q": "a", "r": "a"},  # p differs
        {"p": "a", "q": "a"},  # p agrees
        {"p": "a"},  # nobody else
    ]
    assert with_others(said)["p"] == Share(2, 3)
    # r: on the first p and q say a, on the second p says b and q a: both lead, r says a
    assert with_others(said)["r"] == Share(1, 2)
    assert of_classes(said) == {"a": Share(1, 3), "b": Share(0, 2)}
    assert with_others([{"p": "a"}]) == of_classes([{"p": "a"}]) == {}


def test_the_map_finds_the_plane_that_the_points_are_in() -> None:
    rng = np.random.default_rng(1)
    plane = np.linalg.qr(rng.standard_normal((40, 3)))[0].astype(np.float32)
    inside = rng.standard_normal((500, 2)) * [0.3, 0.1]
    x = (plane[:, 0] + inside @ plane[:, 1:].T).astype(np.float32)
    axes, middle, explained = directions(x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    _, lengths, exact = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    for axis in range(2):
        assert abs(axes[:, axis] @ exact[axis]) == pytest.approx(1, abs=1e-4)
    shares = lengths**2 / (lengths**2).sum()
    assert explained == pytest.approx(tuple(shares[:2]), abs=1e-4)
    assert middle == pytest.approx(unit.mean(axis=0), abs=1e-6)


def test_the_map_of_almost_nothing_is_flat() -> None:
    one = np.ones((1, 5), dtype=np.float16)
    axes, _, explained = directions(one)
    assert explained == (0.0, 0.0)
    assert axes.shape == (5, 2)
    two = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float16)
    axes, _, explained = directions(two)
    # Two points span one direction, (1, −1, 0) / √2.
    assert np.abs(axes[:, 0]) == pytest.approx([1 / sqrt(2), 1 / sqrt(2), 0], abs=1e-6)
    assert explained[0] == pytest.approx(1)


def test_of_a_large_pool_the_lowest_ids_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.analysis.pool_map.MOST", 2)
    assert sample(["c", "a", "b"]) == ["a", "b"]
