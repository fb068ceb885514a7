"""The samplers' logistic regression by hand, against scikit-learn and against its definition."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from atlas.errors import SamplerError
from atlas.samplers._linear import Linear, Scale, fit, log_odds


def odds(head: Linear, rows: np.ndarray) -> np.ndarray:
    return rows @ head.weights + head.bias


def data(rows: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy yes and no, about 30% yes, both kinds there."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    yes = x[:, 0] + rng.normal(size=rows) > 0.7
    yes[:2] = True, False
    return x, yes


def slope(x: np.ndarray, yes: np.ndarray, l2: float, head: Linear) -> np.ndarray:
    """Of Σ log loss + l2/2·‖w‖² by weights and bias, one row at a time."""
    total = np.append(l2 * head.weights, 0.0)
    for row, truth in zip(x, yes, strict=True):
        chance = 1 / (1 + np.exp(-(row @ head.weights + head.bias)))
        total += (chance - truth) * np.append(row, 1.0)
    return total


def test_by_hand() -> None:
    """Yes at 1, no at −1: the bias is 0 and l2·w = 2·σ(−w). With w = log 3, σ(−w) = ¼."""
    head = fit(np.array([[1.0], [-1.0]]), np.array([True, False]), l2=0.5 / np.log(3))
    assert head.weights == pytest.approx([np.log(3)])
    assert head.bias == pytest.approx(0, abs=1e-9)


def test_a_penalty_without_end_leaves_the_share_of_yes() -> None:
    """The bias is free: of 1 yes in 4 the log odds are log(1/3)."""
    head = fit(np.eye(4), np.array([True, False, False, False]), l2=1e12)
    assert head.bias == pytest.approx(np.log(1 / 3))
    assert np.abs(head.weights).max() < 1e-9


@pytest.mark.parametrize(("rows", "features"), [(200, 5), (30, 30), (31, 30), (29, 30), (12, 80)])
@pytest.mark.parametrize("l2", [0.1, 1.0, 50.0])
def test_the_weights_are_scikit_learns(rows: int, features: int, l2: float) -> None:
    x, yes = data(rows, features)
    oracle = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    oracle.fit(x, yes)
    head = fit(x, yes, l2=l2)
    np.testing.assert_allclose(head.weights, oracle.coef_[0], atol=1e-6)
    assert head.bias == pytest.approx(float(oracle.intercept_[0]), abs=1e-6)


def hard() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    x, yes = data(60, 4)
    yield "separable", np.where(yes, 9.0, -9.0)[:, np.newaxis] * np.ones((1, 4)), yes
    yield "one yes in 60", x, np.arange(60) == 7
    yield "copies", np.repeat(x[:2], 30, axis=0), yes
    yield "all the same row", np.ones((60, 4)), yes
    yield "copied features, fewer rows", np.repeat(x[:5], 20, axis=1), yes[:5]
    yield "large", 1e3 * x, yes


@pytest.mark.parametrize(("x", "yes"), [pytest.param(x, yes, id=name) for name, x, yes in hard()])
@pytest.mark.parametrize("l2", [0.01, 4.0])
def test_the_slope_is_zero_where_it_stops(x: np.ndarray, yes: np.ndarray, l2: float) -> None:
    head = fit(x, yes, l2=l2)
    assert np.abs(slope(x, yes, l2, head)).max() < 1e-6 * np.abs(x).max()


@pytest.mark.parametrize(("rows", "features"), [(50, 6), (10, 40)])
def test_where_it_starts_does_not_matter(rows: int, features: int) -> None:
    x, yes = data(rows, features)
    cold = fit(x, yes, l2=2.0)
    for far in (Linear(np.full(features, 5.0), -20.0), Linear(np.full(features, -9.0), 30.0)):
        warm = fit(x, yes, l2=2.0, start=far)
        np.testing.assert_allclose(warm.weights, cold.weights, atol=1e-8)
        assert warm.bias == pytest.approx(cold.bias, abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(3, 30), st.integers(1, 40), st.sampled_from([0.01, 1.0, 99])
)
def test_a_row_added_as_no_is_never_thought_more_of_a_yes(
    seed: int, rows: int, features: int, l2: float
) -> None:
    """f is least at a, f + g at b: f(a) ≤ f(b) and f(b) + g(b) ≤ f(a) + g(a), so g(b) ≤ g(a).

    g is the loss of the added row as "no", which grows with its log odds of yes.
    """
    x, yes = data(rows, features, seed)
    added = np.random.default_rng(seed + 1).normal(size=(1, features))
    before = fit(x, yes, l2=l2)
    after = fit(np.concatenate([x, added]), np.append(yes, False), l2=l2, start=before)
    assert odds(after, added)[0] <= odds(before, added)[0] + 1e-6


def test_nothing_given_is_changed() -> None:
    x, yes = data(20, 30)
    copies = x.copy(), yes.copy()
    x.setflags(write=False)
    yes.setflags(write=False)
    start = Linear(np.zeros(30), 0.0)
    fit(x, yes, l2=1.0, start=start)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(yes, copies[1])
    assert not start.weights.any()


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_alone_teaches_nothing(kind: bool) -> None:
    with pytest.raises(SamplerError, match="3 rows of one kind; a head needs both kinds"):
        fit(np.eye(3), np.full(3, kind), l2=1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_rows_stop(bad: float) -> None:
    x, yes = data(9, 3)
    x[4, 1] = bad
    with pytest.raises(SamplerError, match="is not finite; embed the images again"):
        fit(x, yes, l2=1.0)


def test_the_scale() -> None:
    """Of 1, 3 and 5, 7 together: mean 4, spread √5; a constant feature is only moved."""
    scale = Scale.of(np.array([[1.0, 8], [3, 8]]), np.array([[5, 8], [7, 8]], dtype=np.float16))
    assert scale.mean.tolist() == [4, 8]
    assert scale.spread.tolist() == [pytest.approx(5**0.5), 1]
    assert scale(np.array([[9.0, 9.0]])).tolist() == [[pytest.approx(5**0.5), 1]]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_log_odds_are_those_of_scaled_rows(kind: type) -> None:
    """More rows than a slice, features far from 0, two heads at once."""
    rng = np.random.default_rng(0)
    rows = (50 + rng.normal(size=(2500, 7))).astype(kind)
    scale = Scale.of(rows[:100])
    heads = [Linear(rng.normal(size=7), 0.3), Linear(rng.normal(size=7), -4.0)]
    found = log_odds(rows, heads, scale)
    wanted = np.stack([odds(head, scale(rows)) for head in heads], axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_equal_rows_have_equal_log_odds_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(1, 367)), 1501, axis=0).astype(np.float16)
    head = Linear(rng.normal(size=367), 0.1)
    assert len(np.unique(log_odds(rows, [head], Scale.of(rng.normal(size=(50, 367)))))) == 1
