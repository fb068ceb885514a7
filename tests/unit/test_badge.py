"""BADGE against explicit gradients, and its drawing against explicit D² sampling."""

from itertools import permutations
from math import sqrt

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.stats import chisquare

from atlas.errors import NonFiniteScores
from atlas.samplers import _badge_draw
from atlas.samplers._badge_draw import Spread
from atlas.samplers._badge_gradients import PoolGradients, square_distances, to_nearest
from atlas.samplers.badge import Badge
from atlas.types import Batch, Candidates

ONE_LEVEL = {"level": 1.0}


def pool(probs: np.ndarray, rows: np.ndarray, **levels: np.ndarray) -> Candidates:
    """Candidates with the levels given, or one level called "level"."""
    by_level = levels or {"level": probs}
    return Candidates(
        [f"img_{i}" for i in range(len(rows))],
        rows,
        rows[:0],
        by_level,
        {name: tuple(f"{name}/{k}" for k in range(p.shape[1])) for name, p in by_level.items()},
    )


def random_pool(n: int, *, classes: int = 3, features: int = 4, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    return pool(rng.dirichlet(np.ones(classes), n), rng.normal(size=(n, features)))


def explicit(probs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N, K·D) gradients, one number at a time."""
    result = []
    for p, h in zip(probs, rows, strict=True):
        predicted = max(range(len(p)), key=lambda k: p[k])
        result.append([(p[k] - (k == predicted)) * x for k in range(len(p)) for x in h])
    return np.array(result, dtype=np.float64)


def gradients(given: Candidates) -> np.ndarray:
    return explicit(given.probs["level"][:], given.bottlenecks[:])


def nearest_square(every: np.ndarray, picks: list[int]) -> np.ndarray:
    """(N,) squared distance of each gradient to its nearest pick."""
    return np.array([min(((g - every[j]) ** 2).sum() for j in picks) for g in every])


def spread(given: Candidates, n: int, seed: int) -> Spread:
    """The picks and their squared distances, in the order of picking."""
    found = Spread(PoolGradients(given, ONE_LEVEL), given.ids, np.random.default_rng(seed))
    found.grow(n)
    return found


def select(given: Candidates, n: int, seed: int = 0, **arguments: object) -> Batch:
    return Badge(**arguments).select(given, n=n, rng=np.random.default_rng(seed))  # type: ignore[arg-type]


def test_a_gradient_by_hand() -> None:
    """q = (0.7 − 1, 0.2, 0.1); |q|² = 0.09 + 0.04 + 0.01 = 0.14; |h|² = 9 + 16 = 25."""
    given = pool(np.array([[0.7, 0.2, 0.1]]), np.array([[3.0, 4.0]], dtype=np.float16))
    found = PoolGradients(given, ONE_LEVEL)[:]
    np.testing.assert_allclose(found.q, [[-0.3, 0.2, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(found.squares, [3.5], rtol=1e-6)
    np.testing.assert_allclose((gradients(given) ** 2).sum(), 3.5, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6), st.integers(1, 8))
def test_factorised_distances_are_those_of_explicit_gradients(
    seed: int, n: int, classes: int, features: int
) -> None:
    given = random_pool(n, classes=classes, features=features, seed=seed)
    every = gradients(given)
    wanted = ((every[:, None] - every[None]) ** 2).sum(axis=2)
    found = PoolGradients(given, ONE_LEVEL)[:]
    largest = max(float((every**2).sum(axis=1).max()), 1e-12)
    distances = square_distances(found, found)
    np.testing.assert_allclose(distances, wanted, rtol=1e-4, atol=1e-4 * largest)
    assert (distances >= 0).all()
    assert (np.diag(distances) == 0).all()
    np.testing.assert_array_equal(to_nearest(found, found), 0)


def test_of_several_levels_gradients_are_concatenated() -> None:
    """Weights 3 : 1 become √0.75 and √0.25, so that squared distances are 0.75 a + 0.25 b."""
    rng = np.random.default_rng(0)
    kind, species = rng.dirichlet(np.ones(2), 9), rng.dirichlet(np.ones(5), 9)
    rows = rng.normal(size=(9, 4))
    given = pool(kind, rows, kind=kind, species=species)
    every = np.concatenate(
        [sqrt(0.75) * explicit(kind, rows), sqrt(0.25) * explicit(species, rows)], axis=1
    )
    found = PoolGradients(given, {"kind": 0.75, "species": 0.25})[:]
    wanted = ((every[:, None] - every[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(square_distances(found, found), wanted, rtol=1e-4, atol=1e-5)
    batch = select(given, 1, level={"kind": 3.0, "species": 1.0})
    longest = (every**2).sum(axis=1)
    assert batch.ids == (f"img_{longest.argmax()}",)
    assert batch.scores[0] == pytest.approx(longest.max(), rel=1e-5)


def slow_sequences(every: np.ndarray, picks: tuple[int, ...]) -> float:
    """The probability of this sequence of picks after the first, by explicit D² sampling."""
    probability = 1.0
    for step in range(1, len(picks)):
        squares = nearest_square(every, list(picks[:step]))
        probability *= squares[picks[step]] / squares.sum()
    return probability


@pytest.mark.parametrize(("draws", "read"), [(256, 100), (1, 100), (4, 100), (1, -(10**9))])
def test_picks_are_drawn_by_squared_distance(
    draws: int, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every order of three picks out of six as often as D² sampling says.

    Drawn many at a time, one at a time, a few at a time, and with a pass over all before each.
    """
    monkeypatch.setattr(_badge_draw, "DRAWS", draws)
    monkeypatch.setattr(_badge_draw, "READ", read)
    given = random_pool(6, seed=5)
    every = gradients(given)
    first = int((every**2).sum(axis=1).argmax())
    orders = [(first, *rest) for rest in permutations(set(range(6)) - {first}, 2)]
    wanted = np.array([slow_sequences(every, order) for order in orders])
    assert wanted.sum() == pytest.approx(1)
    trials = 1200
    drawn = [tuple(spread(given, 3, seed).chosen) for seed in range(trials)]
    counts = np.array([drawn.count(order) for order in orders])
    assert counts.sum() == trials
    common = wanted * trials >= 5  # the rest are too rare for the test, and go into one class
    seen = np.append(counts[common], counts[~common].sum())
    expected = trials * np.append(wanted[common], wanted[~common].sum())
    kept = expected > 0
    assert chisquare(seen[kept], expected[kept]).pvalue > 1e-3, (counts, wanted * trials)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.data())
def test_scores_are_the_distances_at_the_time_of_the_pick(
    seed: int, n: int, data: st.DataObject
) -> None:
    """The slow twin recomputes every distance to every earlier pick."""
    given = random_pool(n, seed=seed)
    every = gradients(given)
    found = spread(given, data.draw(st.integers(1, n)), seed)
    assert len(set(found.chosen)) == len(found.chosen)
    lengths = (every**2).sum(axis=1)
    assert lengths[found.chosen[0]] == pytest.approx(lengths.max(), rel=1e-5)
    assert found.squares[0] == pytest.approx(lengths.max(), rel=1e-5)
    for step in range(1, len(found.chosen)):
        wanted = nearest_square(every, found.chosen[:step])[found.chosen[step]]
        assert found.squares[step] == pytest.approx(wanted, rel=1e-3, abs=1e-4 * lengths.max())
    batch = select(given, len(found.chosen), seed)
    assert list(batch.scores) == sorted(found.squares, reverse=True)
    assert set(batch.ids) == {f"img_{i}" for i in found.chosen}


def test_a_larger_pool_takes_the_way_of_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten groups of copies: one of each, found by passes and not by thousands of draws."""
    passes = []
    of_part = _badge_draw.to_nearest

    def counted(some: object, picks: object) -> object:
        passes.append(len(some))  # type: ignore[arg-type]
        return of_part(some, picks)  # type: ignore[arg-type]

    monkeypatch.setattr(_badge_draw, "to_nearest", counted)
    ten = random_pool(10, classes=8, features=8, seed=1)
    given = ten.subset(np.arange(5000) % 10)
    given = pool(given.probs["level"][:], given.bottlenecks[:])
    found = spread(given, 30, 0)
    assert sorted(i % 10 for i in found.chosen[:10]) == list(range(10))
    assert min(found.squares[:10]) > 0
    assert found.squares[10:] == [0.0] * 20
    assert len(set(found.chosen)) == 30
    assert sum(passes) < 10 * len(given.ids)


@pytest.mark.parametrize(
    ("probs", "rows"),
    [
        ([[0.6, 0.4]] * 8, [[1.0, 2.0]] * 8),  # copies
        ([[1.0, 0.0]] * 8, [[1.0, 2.0], [3.0, 4.0]] * 4),  # certain: no gradient at all
        ([[0.6, 0.4]] * 8, [[0.0, 0.0]] * 8),  # empty bottlenecks
        ([[1.0]] * 8, [[1.0, 2.0]] * 8),  # a single class
    ],
)
def test_with_nothing_left_to_tell_apart_any_are_drawn(
    probs: list[list[float]], rows: list[list[float]]
) -> None:
    given = pool(np.array(probs), np.array(rows))
    drawn = [spread(given, 3, seed) for seed in range(60)]
    assert all(len(set(one.chosen)) == 3 and one.squares[1:] == [0.0, 0.0] for one in drawn)
    assert {one.chosen[0] for one in drawn} == {one.chosen[2] for one in drawn} == set(range(8))
    assert sorted(spread(given, 8, 0).chosen) == list(range(8))


def test_a_certain_image_counts_as_far_from_an_uncertain_one() -> None:
    """g = 0 for the certain ones: its distance to the longest gradient is that one's length."""
    given = pool(np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]]), np.array([[2.0], [1.0], [3.0]]))
    found = spread(given, 3, 0)
    assert found.chosen[0] == 0  # |q|² = 0.25 + 0.25, |h|² = 4
    assert found.squares == [pytest.approx(2.0), pytest.approx(2.0), 0.0]


def test_the_longest_gradient_first_and_ties_by_lot() -> None:
    given = pool(np.array([[0.9, 0.1], [0.5, 0.5], [0.5, 0.5]]), np.array([[1.0], [1.0], [-1.0]]))
    assert {spread(given, 1, seed).chosen[0] for seed in range(40)} == {1, 2}


def test_the_reason_names_the_two_best_classes() -> None:
    given = pool(np.array([[0.1, 0.5, 0.4]]), np.array([[1.0]]))
    assert select(given, 1).reasons == (
        "unlike the other uncertain images: between 1 and 2 0.50/0.40",
    )


def test_a_damaged_bottleneck_stops() -> None:
    rows = np.ones((3, 2), dtype=np.float16)
    rows[1, 0] = np.inf
    with pytest.raises(NonFiniteScores, match="1 of 3 .* that of img_1"):
        select(pool(np.full((3, 2), 0.5), rows), 1)
