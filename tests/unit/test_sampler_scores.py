"""Each sampler's scores by hand and against slow twins."""

from itertools import combinations
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from atlas import plugins
from atlas.errors import NonFiniteScores
from atlas.neighbors import kmeans, nearest, unit_rows
from atlas.samplers import top_n
from atlas.types import Batch, Candidates

UNCERTAIN = ("entropy", "least_confidence", "margin")


def of_probs(probs: list[list[float]]) -> Candidates:
    n, k = len(probs), len(probs[0])
    nothing = np.zeros((n, 1), dtype=np.float16)
    return Candidates(
        [f"img_{i}" for i in range(n)],
        nothing,
        nothing[:0],
        {"level": np.array(probs)},
        {"level": tuple(f"top/{name}" for name in "abcdefgh"[:k])},
    )


def of_rows(rows: np.ndarray, labelled: np.ndarray | None = None) -> Candidates:
    labelled = rows[:0] if labelled is None else labelled
    return Candidates([f"img_{i}" for i in range(len(rows))], rows, labelled)


def select(name: str, given: Candidates, n: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return plugins.build("atlas.samplers", name, {}).select(given, n=n, rng=rng)


def scores(name: str, probs: list[list[float]]) -> list[float]:
    """In the order of `probs`."""
    batch = select(name, of_probs(probs), len(probs))
    by_id = dict(zip(batch.ids, batch.scores, strict=True))
    return [by_id[f"img_{i}"] for i in range(len(probs))]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("margin", 0.9),  # 1 − (0.5 − 0.4)
        ("least_confidence", 0.75),  # (1 − 0.5) · 3 / 2
        ("entropy", (0.5 * math.log(2) + 0.4 * math.log(2.5) + 0.1 * math.log(10)) / math.log(3)),
    ],
)
def test_by_hand(name: str, wanted: float) -> None:
    assert scores(name, [[0.5, 0.4, 0.1]]) == [pytest.approx(wanted)]


@pytest.mark.parametrize("name", UNCERTAIN)
def test_certain_is_zero_and_uniform_is_one(name: str) -> None:
    found = scores(name, [[0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    assert found == [pytest.approx(0), pytest.approx(1)]


def slow_margin(row: list[float]) -> float:
    ordered = sorted(row, reverse=True)
    return 1 - (ordered[0] - ordered[1])


def slow_least_confidence(row: list[float]) -> float:
    return (1 - max(row)) * len(row) / (len(row) - 1)


def slow_entropy(row: list[float]) -> float:
    total = 0.0
    for p in row:
        if p > 0:
            total -= p * math.log(p)
    return total / math.log(len(row))


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        ("margin", slow_margin),
        ("least_confidence", slow_least_confidence),
        ("entropy", slow_entropy),
    ],
)
def test_the_slow_twin_agrees(name: str, slow: object) -> None:
    rows = np.random.default_rng(0).dirichlet(np.full(5, 0.5), 50).tolist()
    assert scores(name, rows) == [pytest.approx(slow(row)) for row in rows]  # type: ignore[operator]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12, unique=True))
def test_with_two_classes_all_three_rank_alike(thousandths: list[int]) -> None:
    """p and 1 − p: whoever is nearer to ½ is asked sooner, by any of the three."""
    folded = {min(one, 1000 - one) for one in thousandths}  # ties are broken at random
    probs = [[one / 1000, 1 - one / 1000] for one in sorted(folded)]
    rankings = {name: select(name, of_probs(probs), len(probs)).ids for name in UNCERTAIN}
    assert rankings["margin"] == rankings["entropy"] == rankings["least_confidence"]
    assert rankings["margin"][0] == f"img_{len(probs) - 1}"


@pytest.mark.parametrize("name", UNCERTAIN)
def test_the_reason_names_the_two_best_classes(name: str) -> None:
    (reason,) = select(name, of_probs([[0.1, 0.5, 0.4]]), 1).reasons
    assert reason == "between b and c 0.50/0.40"


def test_top_n_takes_the_largest_and_breaks_ties_by_lot() -> None:
    values = np.array([1.0, 3.0, 3.0, 3.0, 0.0, 2.0])
    seconds = set()
    for seed in range(40):
        found = top_n(values, list("abcdef"), n=5, rng=np.random.default_rng(seed)).tolist()
        assert set(found[:3]) == {1, 2, 3}
        assert found[3:] == [5, 0]
        seconds.add(tuple(found[:3]))
    assert len(seconds) == 6  # every order of the three


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.data())
def test_top_n_is_the_head_of_a_sort(values: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(values)))
    found = top_n(np.array(values), ["x"] * 20, n=n, rng=np.random.default_rng(0))
    assert len(set(found.tolist())) == n
    assert [values[i] for i in found] == sorted(values, reverse=True)[:n]


def test_top_n_refuses_what_cannot_be_ranked() -> None:
    with pytest.raises(NonFiniteScores, match="2 of 3 .* that of b"):
        top_n(np.array([1.0, np.nan, -np.inf]), ["a", "b", "c"], n=1, rng=np.random.default_rng(0))


def test_random_is_uniform() -> None:
    """1,000 draws of 2 out of 5: each is drawn 400 times ± 15.5; five deviations are 77."""
    given = of_rows(np.zeros((5, 2), dtype=np.float16))
    drawn = [one for seed in range(1000) for one in select("random", given, 2, seed).ids]
    counts = np.array([drawn.count(f"img_{i}") for i in range(5)])
    assert counts.sum() == 2000
    assert (np.abs(counts - 400) < 77).all(), counts


def slow_k_center(rows: np.ndarray, labelled: np.ndarray, n: int) -> list[int]:
    centres, chosen = list(labelled), []
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


def test_k_center_is_farthest_first() -> None:
    rng = np.random.default_rng(3)
    rows, labelled = rng.normal(size=(40, 3)), rng.normal(size=(2, 3))
    batch = select("k_center", of_rows(rows, labelled), 12)
    unit = [row / np.linalg.norm(row) for row in rows]
    centres = np.array([row / np.linalg.norm(row) for row in labelled])
    wanted = slow_k_center(np.array(unit), centres, 12)
    assert batch.ids == tuple(f"img_{i}" for i in wanted)
    covered = [*centres]
    for number, score in zip(wanted, batch.scores, strict=True):
        assert score == pytest.approx(min(math.dist(unit[number], c) for c in covered), abs=1e-3)
        covered.append(unit[number])
    assert list(batch.scores) == sorted(batch.scores, reverse=True)  # the radius never grows


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 10), st.integers(1, 4))
def test_k_center_is_within_twice_the_best_radius(seed: int, rows: int, n: int) -> None:
    """The best is found by trying every choice of n centres."""
    n = min(n, rows)
    points = unit_rows(np.random.default_rng(seed).normal(size=(rows, 2)))
    chosen = [int(one[4:]) for one in select("k_center", of_rows(points), n, seed).ids]
    distances = cdist(points, points)
    best = min(
        distances[list(centres)].min(axis=0).max() for centres in combinations(range(rows), n)
    )
    assert distances[chosen].min(axis=0).max() <= 2 * best + 1e-5


def test_k_center_takes_copies_last() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [-1, 0]], dtype=np.float16)
    batch = select("k_center", of_rows(rows, rows[:1]), 5)
    assert batch.ids[0] == "img_4"
    assert batch.ids[1] in ("img_2", "img_3")
    assert batch.scores[2:] == (0.0, 0.0, 0.0)


def test_k_means_takes_one_of_each_group() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:6]
    for seed in range(5):
        group = np.repeat(np.arange(6), 20)
        rows = (centres[group] + rng.normal(0, 0.02, (120, 8))).astype(np.float16)
        batch = select("kmeans", of_rows(rows), 6, seed)
        assert sorted(group[int(one[4:])] for one in batch.ids) == [0, 1, 2, 3, 4, 5]


def test_k_means_takes_the_middle_of_a_group() -> None:
    angles = np.array([-0.2, -0.1, 0.0, 0.1, 0.2, 3.0, 3.1, 3.2])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    batch = select("kmeans", of_rows(rows), 2)
    assert set(batch.ids) == {"img_2", "img_6"}


def test_k_means_of_copies_still_gives_n() -> None:
    assert len(set(select("kmeans", of_rows(np.ones((6, 3))), 4).ids)) == 4


def test_unit_rows() -> None:
    found = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert (found.dtype, found.tolist()) == (
        np.float32,
        [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]],
    )


def test_k_means_samples_in_the_open() -> None:
    """More than 256 rows a centre: a sample drawn by `rng`, the same for the same seed."""
    rows = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    first, again, other = (
        kmeans(rows, clusters=3, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3, 4)
    assert not np.array_equal(first, other)


def test_nearest_agrees_with_every_distance() -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(30, 4)), rng.normal(size=(5, 4))
    distances, numbers = nearest(rows.astype(np.float32), queries.astype(np.float32), k=3)
    wanted = cdist(queries, rows) ** 2
    np.testing.assert_array_equal(numbers, wanted.argsort(axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :3], rtol=1e-4)
