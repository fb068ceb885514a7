"""k-means, TypiClust and MaxHerding by hand, against slow twins, and in pieces."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from atlas.errors import SamplerError
from atlas.neighbors import unit_rows
from atlas.samplers import kmeans as kmeans_sampler
from atlas.samplers import max_herding, typiclust
from tests.diversity_support import groups_of, numbers, of_rows, on_circle, select, unit

# k-means


def test_k_means_takes_one_of_each_group() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:6]
    for seed in range(5):
        group = np.repeat(np.arange(6), 20)
        rows = (centres[group] + rng.normal(0, 0.02, (120, 8))).astype(np.float16)
        assert sorted(group[numbers(select("kmeans", of_rows(rows), 6, seed))]) == list(range(6))


def test_k_means_takes_the_middle_of_a_group() -> None:
    rows = on_circle([-20, -10, 0, 10, 20, 170, 180, 190])
    batch = select("kmeans", of_rows(rows), 2)
    assert set(numbers(batch)) == {2, 6}
    # the mean of cos 0°, 10°, 20° with their mirrors is 0.9698: 0.0302 from 1; the other 0.0101
    assert batch.scores == pytest.approx([-(0.0101**2), -(0.0302**2)], rel=0.02)


def test_k_means_of_copies_still_gives_n() -> None:
    """40 centres that all want the same 40 rows, of which each keeps 16 at first."""
    assert len(set(select("kmeans", of_rows(np.ones((45, 3))), 40).ids)) == 40


@pytest.mark.parametrize("kept", [1, 3, 50])
def test_each_centre_gets_its_nearest_free_row(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow twin goes through all pairs, nearest first; however few rows a centre keeps.

    With few kept, a centre may miss a row only when others took all those that it kept.
    """
    monkeypatch.setattr(kmeans_sampler, "KEPT", kept)
    monkeypatch.setattr(kmeans_sampler, "ENTRIES", 60)  # chunks of 6 rows
    rng = np.random.default_rng(1)
    rows, centres = rng.normal(size=(50, 5)), unit_rows(rng.normal(size=(10, 5)))
    found = kmeans_sampler.nearest_free(rows, centres, rng)
    distance = cdist(centres, unit(rows))
    wanted: dict[int, int] = {}
    for entry in distance.argsort(axis=None).tolist():
        centre, row = divmod(entry, 50)
        if centre not in wanted and row not in wanted.values():
            wanted[centre] = row
    assert found.tolist() == [wanted[centre] for centre in range(10)]


# TypiClust


def slow_typicality(rows: np.ndarray) -> list[float]:
    """1 / mean distance to the min(20, size / 2) nearest others."""
    result = []
    for i, row in enumerate(rows):
        others = sorted(math.dist(row, other) for j, other in enumerate(rows) if j != i)
        count = min(20, len(rows) // 2)
        result.append(count / sum(others[:count]))
    return result


def test_typicality_is_of_true_distances() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4))
    found = typiclust.mean_distance(unit_rows(rows), np.random.default_rng(0))
    np.testing.assert_allclose(1 / found, slow_typicality(unit(rows)), rtol=1e-4)


def test_typicality_of_squares_would_choose_another() -> None:
    """Five images have two neighbours each: 0° has them at 1° and 20°, 34° at 14° and 14°.

    The mean distances are 10.5° and 14°, the mean squares 200.5 and 196.
    """
    rows = on_circle([-1, 0, 20, 34, 48])
    found = typiclust.mean_distance(unit_rows(rows), np.random.default_rng(0))
    assert found.argmin() == 1
    assert np.sort(cdist(rows, rows) ** 2, axis=1)[:, 1:3].mean(axis=1).argmin() == 3


def test_a_large_group_is_measured_against_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 of 40 drawn, of which each row leaves itself out; in chunks of 7."""
    monkeypatch.setattr(typiclust, "EXACT", 10)
    monkeypatch.setattr(typiclust, "NEIGHBOURS", 3)
    monkeypatch.setattr(typiclust, "CHUNK", 7)
    rows = unit(np.random.default_rng(0).normal(size=(40, 4)))
    drawn = np.sort(np.random.default_rng(5).choice(40, 10, replace=False))
    distance = cdist(rows, rows)
    np.fill_diagonal(distance, np.inf)
    wanted = np.sort(distance[:, drawn], axis=1)[:, :3].mean(axis=1)
    found = typiclust.mean_distance(unit_rows(rows), np.random.default_rng(5))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_typiclust_asks_the_largest_groups_without_a_label() -> None:
    """Groups of 40, 30, 20 and 10; the first two have a label each.

    Two labels and two picks make four clusters; of those without a label, 20 comes before 10.
    """
    rows, group = groups_of([41, 31, 20, 10])
    labelled = np.isin(np.arange(len(rows)), [0, 41])
    given = of_rows(rows[~labelled], rows[labelled])
    batch = select("typiclust", given, 2)
    left, left_group = rows[~labelled], group[~labelled]
    for number, wanted in zip(numbers(batch), (2, 3), strict=True):
        assert left_group[number] == wanted
        typicality = slow_typicality(unit(left[left_group == wanted]))
        assert number == np.flatnonzero(left_group == wanted)[np.argmax(typicality)]
    assert batch.reasons == (
        "typical of a group of 20 images with no label",
        "typical of a group of 10 images with no label",
    )
    assert batch.scores == pytest.approx([20 / 102, 10 / 102])


def turns(groups: list[typiclust.Group], n: int) -> list[int]:
    """The sizes of those whose turn it was."""
    sizes = []
    for group in typiclust._turns(groups, n, np.random.default_rng(0)):
        group.members = group.members[:-1]
        group.labels += 1
        sizes.append(group.size)
    return sizes


def test_the_order_of_turns() -> None:
    """Fewest labels, then size; a pick counts; 12 has two candidates, then it is left out;

    5 images are too few, until nothing else is left.
    """
    groups = [
        typiclust.Group(np.arange(2), labels=0, size=12),
        typiclust.Group(np.arange(9), labels=1, size=10),
        typiclust.Group(np.arange(8), labels=0, size=8),
        typiclust.Group(np.arange(5), labels=0, size=5),
    ]
    found = turns(groups, 24)
    assert found[:7] == [12, 8, 12, 10, 8, 10, 8]
    assert found[-5:] == [5] * 5
    assert all(len(group.members) == 0 for group in groups)


def test_typiclust_of_copies() -> None:
    batch = select("typiclust", of_rows(np.ones((30, 4)), np.ones((2, 4))), 30)
    assert sorted(numbers(batch)) == list(range(30))


# MaxHerding


def slow_herding(rows: np.ndarray, labelled: np.ndarray, n: int, sigma: float) -> list[float]:
    """Coverage gained by each pick, each found by trying all; in float64."""
    rows, labelled = unit(rows), unit(labelled)
    kernel = np.exp(-(cdist(rows, np.concatenate([rows, labelled])) ** 2) / sigma**2)
    chosen = list(range(len(rows), len(rows) + len(labelled)))
    gains = []
    for _ in range(n):
        before = kernel[:, chosen].max(axis=1).mean() if chosen else 0.0
        after = [kernel[:, [*chosen, i]].max(axis=1).mean() for i in range(len(rows))]
        chosen.append(int(np.argmax(after)))
        gains.append(max(after) - before)
    return [*chosen[len(labelled) :], *gains]


@pytest.mark.parametrize("sigma", [0.3, 1.0])
@pytest.mark.parametrize("labels", [0, 5])
def test_max_herding_is_greedy(sigma: float, labels: int) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(150, 8)).astype(np.float16)
    labelled = rng.normal(size=(labels, 8)).astype(np.float16)
    batch = select("max_herding", of_rows(rows, labelled), 20, sigma=sigma)
    wanted = slow_herding(rows, labelled, 20, sigma)
    assert numbers(batch) == wanted[:20]
    assert batch.scores == pytest.approx(wanted[20:], abs=1e-6)


def test_max_herding_by_hand() -> None:
    """Three copies at 0°, one image at 180°, σ = 1: d² is 4, exp(−4) = 0.0183.

    A copy covers (3 + 0.0183) / 4; then the other adds (1 − 0.0183) / 4; then nothing is left.
    """
    batch = select("max_herding", of_rows(on_circle([0, 180, 0, 0])), 4)
    assert batch.ids[1] == "img_1"
    assert batch.scores == pytest.approx([0.7546, 0.2454, 0, 0], abs=1e-4)
    assert batch.reasons[:2] == (
        "like many images of the pool that no label is like yet, number 1 of 4",
        "like many images of the pool that no label is like yet, number 2 of 4",
    )


def test_max_herding_of_many_reads_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five groups of 100, of which 60 rows are drawn: still one of each, and n may exceed that."""
    monkeypatch.setattr(max_herding, "SAMPLE", 60)
    rows, group = groups_of([100] * 5)
    assert sorted(group[numbers(select("max_herding", of_rows(rows), 5, sigma=0.5))]) == [*range(5)]
    assert len(set(select("max_herding", of_rows(rows), 400).ids)) == 400


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_max_herding_wants_a_distance(sigma: float) -> None:
    with pytest.raises(SamplerError, match="sigma is .*; give a distance above 0"):
        select("max_herding", of_rows(np.ones((3, 2))), 1, sigma=sigma)
