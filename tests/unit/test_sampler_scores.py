"""Each sampler's scores by hand and against slow twins."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from atlas import plugins
from atlas.errors import NonFiniteScores
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
