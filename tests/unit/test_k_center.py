"""k-center by hand, against a slow twin, and with a frontier too small for the pool."""

from itertools import combinations
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from atlas.errors import NonFiniteScores
from atlas.neighbors import unit_rows
from atlas.samplers import _frontier
from atlas.samplers._frontier import farthest_first
from tests.diversity_support import numbers, of_rows, on_circle, select, unit


def slow_k_center(rows: np.ndarray, labelled: np.ndarray, n: int) -> list[int]:
    """Every distance to every centre, for every pick, in float64."""
    rows, centres, chosen = unit(rows), list(unit(labelled)), list[int]()
    for _ in range(n):
        best, farthest = -1, -1.0
        for number, row in enumerate(rows):
            if number in chosen:
                continue
            distance = min(math.dist(row, centre) for centre in centres)
            if distance > farthest:
                best, farthest = number, distance
        chosen.append(best)
        centres.append(rows[best])
    return chosen


def test_k_center_by_hand() -> None:
    """Labelled at 0°. 180° is farthest (2). Then 80° is 80° from 0° (2 sin 40° = 1.29), 130° and

    −60° are 50° and 60° from a centre; then −60° (2 sin 30° = 1), and 130° is 50° from both sides.
    """
    given = of_rows(on_circle([80, 180, 130, -60]), on_circle([0]))
    batch = select("k_center", given, 4)
    assert numbers(batch) == [1, 0, 3, 2]
    assert batch.scores == pytest.approx([2, 1.2856, 1, 0.8452], abs=1e-4)
    assert batch.reasons[1] == "unlike anything labelled (distance 1.29)"


@pytest.mark.parametrize("frontier", [1, 7, 40, 8192])
def test_k_center_is_farthest_first(frontier: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sequence as the slow twin's, however few rows are held in memory."""
    monkeypatch.setattr(_frontier, "FRONTIER", frontier)
    monkeypatch.setattr(_frontier, "HEAD", 2)
    monkeypatch.setattr(_frontier, "BLOCK", 5)
    monkeypatch.setattr(_frontier, "MOST_CENTRES", 3)
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(120, 6)).astype(np.float16)
    labelled = rng.normal(size=(9, 6)).astype(np.float16)
    batch = select("k_center", of_rows(rows, labelled), 40)
    wanted = slow_k_center(rows, labelled, 40)
    assert numbers(batch) == wanted
    covered = list(unit(labelled))
    for number, score in zip(wanted, batch.scores, strict=True):
        row = unit(rows)[number]
        assert score == pytest.approx(min(math.dist(row, c) for c in covered), abs=1e-6)
        covered.append(row)
    assert list(batch.scores) == sorted(batch.scores, reverse=True)  # the radius never grows


def test_k_center_without_labels_goes_on_from_its_random_first() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4))
    firsts = set()
    for seed in range(20):
        batch = select("k_center", of_rows(rows), 10, seed)
        first, *others = numbers(batch)
        assert others == slow_k_center(rows, rows[[first]], 9)
        assert (batch.scores[0], batch.reasons[0]) == (2, "the first of all, drawn at random")
        firsts.add(first)
    assert len(firsts) > 10


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 4))
def test_k_center_is_within_twice_the_best_radius(seed: int, rows: int, n: int) -> None:
    """The best is found by trying every choice of n centres."""
    n = min(n, rows)
    points = unit_rows(np.random.default_rng(seed).normal(size=(rows, 2)))
    chosen = numbers(select("k_center", of_rows(points), n, seed))
    distances = cdist(points, points)
    best = min(
        distances[list(centres)].min(axis=0).max() for centres in combinations(range(rows), n)
    )
    assert distances[chosen].min(axis=0).max() <= 2 * best + 1e-5


def test_k_center_takes_copies_last_at_distance_zero() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [-1, 0]], dtype=np.float16)
    batch = select("k_center", of_rows(rows, rows[:1]), 5)
    assert batch.ids[0] == "img_4"
    assert batch.ids[1] in ("img_2", "img_3")
    assert batch.scores[2:] == (0.0, 0.0, 0.0)


def test_k_center_of_many_copies_ends_with_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frontier that cannot hold all equals must neither hang nor repeat."""
    monkeypatch.setattr(_frontier, "FRONTIER", 8)
    rows = np.repeat(np.random.default_rng(0).normal(size=(3, 32)).astype(np.float16), 20, axis=0)
    batch = select("k_center", of_rows(rows), 60)
    assert sorted(numbers(batch)) == list(range(60))
    assert sorted(number // 20 for number in numbers(batch)[:3]) == [0, 1, 2]
    assert batch.scores[3:] == (0.0,) * 57


def test_k_center_draws_among_equals_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """90 of 100 copies are outside a frontier of 10; over 400 seeds each half has 200 ± 10."""
    monkeypatch.setattr(_frontier, "FRONTIER", 10)
    given = of_rows(np.repeat([[0.6, 0.8]], 100, axis=0), np.array([[1.0, 0.0]]))
    first = [numbers(select("k_center", given, 1, seed))[0] for seed in range(400)]
    assert abs(sum(number < 50 for number in first) - 200) < 50


def test_k_center_knows_rows_of_zeros() -> None:
    """A row of zeros is 1 from any other, and 0 from another row of zeros."""
    given = of_rows(np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 0.0]]), np.array([[1.0, 0.0]]))
    assert select("k_center", given, 3).scores == (2.0, 1.0, 0.0)


def test_k_center_computes_far_fewer_distances() -> None:
    """20,000 rows, 50 labels, 300 picks; the plain way takes 350 · 20,000."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 16)).astype(np.float16)
    found = farthest_first(of_rows(rows, rows[:50] + 1), n=300, rng=rng)
    assert found.computed < 0.6 * 350 * 20_000


def test_k_center_names_a_damaged_row() -> None:
    rows = np.ones((5, 3), dtype=np.float16)
    rows[3, 1] = np.nan
    with np.errstate(invalid="ignore"), pytest.raises(NonFiniteScores, match="that of img_3"):
        select("k_center", of_rows(rows), 2)
