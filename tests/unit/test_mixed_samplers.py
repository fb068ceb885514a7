"""representative and model_outlier by hand and by slow twins."""

from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from atlas.errors import NonFiniteScores
from tests.mixed_samplers_support import in_order, pool, select

# representative


def test_representative_by_hand() -> None:
    """Unit rows (1, 0), (0.6, 0.8), (0, 1): sum (1.6, 1.8), length √5.8. Labelled: (0, 1).

    (1, 0): 1.6/√5.8 − 0. (0.6, 0.8): (0.96 + 1.44)/√5.8 − 0.8. (0, 1): 1.8/√5.8 − 1.
    """
    rows = [[5.0, 0.0], [3.0, 4.0], [0.0, 0.1]]
    batch = select("representative", pool([[1.0]] * 3, rows, [[0.0, 7.0]]), 3)
    root = math.sqrt(5.8)
    np.testing.assert_allclose(
        in_order(batch), [1.6 / root, 2.4 / root - 0.8, 1.8 / root - 1], atol=2e-6
    )
    assert batch.ids == ("img_0", "img_1", "img_2")
    assert batch.reasons[0] == "looks like the pool and unlike the labels (0.66)"


def test_representative_without_labels_looks_at_the_pool_alone() -> None:
    """(1.6, 1.8)/√5.8 against (0.6, 0.8): 2.4/√5.8."""
    rows = [[5.0, 0.0], [3.0, 4.0], [0.0, 0.1]]
    batch = select("representative", pool([[1.0]] * 3, rows), 1)
    assert batch.ids == ("img_1",)
    assert batch.scores == (pytest.approx(2.4 / math.sqrt(5.8), abs=2e-6),)
    assert batch.reasons == ("looks like the pool (1.00)",)


def slow_representative(rows: np.ndarray, labelled: np.ndarray) -> list[float]:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        lengths = math.sqrt((a * a).sum()) * math.sqrt((b * b).sum())
        return float((a * b).sum() / lengths) if lengths else 0.0

    def mean(some: np.ndarray) -> np.ndarray:
        units = [row / (math.sqrt((row * row).sum()) or 1) for row in some]
        return np.mean(units, axis=0) if len(units) else np.zeros(rows.shape[1])

    return [cosine(row, mean(rows)) - cosine(row, mean(labelled)) for row in rows]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(0, 5))
def test_representative_is_its_slow_twin(seed: int, n: int, labelled: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 4)).astype(np.float16)
    rows[rng.random(n) < 0.1] = 0  # an empty row is like nothing
    known = rng.normal(size=(labelled, 4)).astype(np.float16)
    candidates = replace(pool([[1.0]] * n, rows), labelled=known)
    wanted = slow_representative(rows.astype(np.float64), known.astype(np.float64))
    found = in_order(select("representative", candidates, n))
    np.testing.assert_allclose(found, wanted, atol=3e-6)


def test_representative_reads_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
    whole = select("representative", pool([[1.0]] * 50, rows), 50)
    monkeypatch.setattr("atlas.samplers.representative.ROWS_IN_CACHE", 7)
    sliced = select("representative", pool([[1.0]] * 50, rows), 50)
    np.testing.assert_allclose(in_order(sliced), in_order(whole), atol=3e-6)


# model_outlier


def odds(*log_odds: float) -> list[float]:
    """Probabilities that have these log odds; they need not sum to 1 here."""
    return [1 / (1 + math.exp(-one)) for one in log_odds]


def test_model_outlier_by_hand() -> None:
    """Log odds of the labelled, each class: −2, 0, 2 have the ranks 0, ½, 1.

    (−3, 0, 1): the best is 1, whose rank is 0.75; score 0.25. (2, 5, −1): 5 has the rank 1; 0.
    """
    seen = [odds(-2, 0, 2), odds(0, 2, -2), odds(2, -2, 0)]
    given_ = pool([odds(-3, 0, 1), odds(2, 5, -1)], seen=seen)
    batch = select("model_outlier", given_, 2)
    assert batch.scores == (pytest.approx(0.25), pytest.approx(0))
    assert batch.ids == ("img_0", "img_1")
    assert batch.reasons[0] == "unlike what the model knows 0.25: between c and b 0.73/0.50"
    assert batch.note == ""


def slow_rank(value: float, seen: list[float]) -> float:
    """From 0 below all to 1 above all, a straight line from each to the next; equals are one."""
    ordered = sorted(seen)
    last = len(ordered) - 1
    if last == 0:
        return 0.5

    def rank(one: float) -> float:
        places = [i for i, other in enumerate(ordered) if other == one]
        return sum(places) / len(places) / last

    distinct = sorted(set(seen))
    if value <= distinct[0]:
        return rank(distinct[0])
    for low, high in zip(distinct, distinct[1:], strict=False):
        if value <= high:
            return rank(low) + (value - low) / (high - low) * (rank(high) - rank(low))
    return rank(distinct[-1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.integers(2, 5))
def test_model_outlier_is_its_slow_twin(seed: int, n: int, labelled: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(classes), n)
    seen = rng.dirichlet(np.ones(classes), labelled)[rng.integers(labelled, size=labelled)]
    wanted = []
    for row in probs:
        k = int(row.argmax())
        of_class = [math.log(q / (1 - q)) for q in seen[:, k]]
        wanted.append(1 - slow_rank(math.log(row[k] / (1 - row[k])), of_class))
    found = in_order(select("model_outlier", pool(probs, seen=seen.tolist()), n))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert ((found >= 0) & (found <= 1)).all()


def test_labelled_images_without_a_prediction_do_not_count() -> None:
    seen = [odds(-2, 0, 2), odds(0, 2, -2), odds(2, -2, 0)]
    probs = [odds(-3, 0, 1), odds(2, 5, -1)]
    with_gaps = [seen[0], [math.nan] * 3, *seen[1:], [math.nan] * 3]
    assert select("model_outlier", pool(probs, seen=with_gaps), 2) == select(
        "model_outlier", pool(probs, seen=seen), 2
    )


def test_certain_predictions_are_finite() -> None:
    probs = [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    scores = select("model_outlier", pool(probs, seen=[[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]), 2).scores
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("seen", [None, [[math.nan] * 3] * 4])
def test_before_there_are_predictions_another_chooses_and_says_so(
    seen: list[list[float]] | None,
) -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    batch = select("model_outlier", pool(probs, seen=seen), 5)
    assert batch.ids == select("least_confidence", pool(probs), 5).ids
    why = "too few labels to know an outlier"
    assert batch.note == f"{why}: least_confidence chose"
    assert batch.reasons[0].endswith(f"(least_confidence chose: {why})")
    assert "margin chose" in select("model_outlier", pool(probs), 5, fallback="margin").note


def test_the_surest_is_no_outlier() -> None:
    """The mean rank of all classes would call the first one the outlier: it is low for b and c."""
    seen = [odds(3, -2, -2), odds(-2, 3, -2), odds(-2, -2, 3)]
    batch = select("model_outlier", pool([odds(6, -4, -4), odds(0, -1, -1)], seen=seen), 2)
    assert batch.ids == ("img_1", "img_0")


@pytest.mark.parametrize("name", ["class_balanced", "model_outlier", "cluster_margin"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_probabilities_stop(name: str, bad: float) -> None:
    probs = np.full((3, 3), 1 / 3)
    probs[1, 0] = bad
    given_ = pool(probs, seen=[[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])
    with pytest.raises(NonFiniteScores, match=r"1 of 3 .* that of img_1"):
        select(name, given_, 1)
