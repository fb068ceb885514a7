"""scikit-activeml as an oracle: the same scores, and the same picks where no lot is drawn."""

from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import (
    Badge,
    CoreSet,
    MaxHerding,
    TypiClust,
    average_kl_divergence,
    uncertainty_scores,
)
from skactiveml.pool._badge import _d_2

from atlas import plugins
from atlas.neighbors import unit_rows
from atlas.types import Batch, Candidates

SEEDS = range(5)
CLASSES = 4


def drawn(seed: int, n: int = 120, *, labelled: int = 6, features: int = 8) -> Candidates:
    """Random rows of length 1 and random probabilities of 4 classes, from three heads."""
    rng = np.random.default_rng(seed)
    members = rng.dirichlet(np.full(CLASSES, 0.5), (3, n)).astype(np.float32)
    return Candidates(
        ids=[f"img_{number}" for number in range(n)],
        bottlenecks=unit_rows(rng.normal(size=(n, features))),
        labelled=unit_rows(rng.normal(size=(labelled, features))),
        probs={"kind": members.mean(axis=0)},
        classes={"kind": tuple("abcd")},
        member_probs={"kind": list(members)},
    )


def select(name: str, given: Candidates, n: int, seed: int = 0, **arguments: object) -> Batch:
    sampler = plugins.build("atlas.samplers", name, arguments)
    batch: Batch = sampler.select(given, n=n, rng=np.random.default_rng(seed))
    return batch


def positions(batch: Batch) -> list[int]:
    return [int(image_id[4:]) for image_id in batch.ids]


def scores(name: str, given: Candidates) -> np.ndarray:
    """(N,) in the order of the candidates."""
    batch = select(name, given, len(given.ids))
    result = np.empty(len(given.ids))
    result[positions(batch)] = batch.scores
    return result


def theirs(strategy: Any, given: Candidates, n: int) -> list[int]:
    """What a strategy of theirs picks; they want the labelled among the rows, here at the end."""
    rows = np.concatenate([given.bottlenecks[:], given.labelled[:]])
    y = np.full(len(rows), np.nan)
    y[len(given.ids) :] = np.arange(len(given.labelled)) % CLASSES
    return [int(pick) for pick in strategy.query(rows, y, batch_size=n)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "method", "scale"),
    [
        ("least_confidence", "least_confident", CLASSES / (CLASSES - 1)),
        ("margin", "margin_sampling", 1),
        ("entropy", "entropy", 1 / np.log(CLASSES)),
    ],
)
def test_uncertainty_is_theirs_scaled_to_one(
    seed: int, name: str, method: str, scale: float
) -> None:
    """Theirs end at 1 − 1/K, 1 and log K; ours at 1."""
    given = drawn(seed)
    wanted = scale * uncertainty_scores(given.probs["kind"][:], method=method)
    np.testing.assert_allclose(scores(name, given), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_bald_is_the_mean_divergence_from_the_mean(seed: int) -> None:
    """H(mean p) − mean H(p) = mean KL(p ‖ mean p), which they call query by committee."""
    given = drawn(seed)
    members = np.array(given.member_probs["kind"], dtype=np.float64)
    wanted = average_kl_divergence(members, eps=1e-12) / np.log(CLASSES)
    np.testing.assert_allclose(scores("bald", given), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("labelled", [1, 6])
def test_k_center_picks_what_core_set_picks(seed: int, labelled: int) -> None:
    given = drawn(seed, labelled=labelled)
    assert positions(select("k_center", given, 40)) == theirs(CoreSet(), given, 40)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("labelled", [0, 6])
def test_max_herding_picks_what_theirs_picks(seed: int, labelled: int) -> None:
    """Their kernel exp(−γ d²) is ours at γ = 1/σ².

    Only the first 15: when no more than two images are left near one another, each adds the same.
    """
    given = drawn(seed, labelled=labelled)
    wanted = theirs(MaxHerding(metric_dict={"gamma": 1 / 0.7**2}), given, 15)
    assert positions(select("max_herding", given, 15, sigma=0.7)) == wanted


def far_groups(seed: int, sizes: tuple[int, ...], labelled: tuple[int, ...]) -> Candidates:
    """Tight groups around far directions, with so many labelled images in each."""
    rng = np.random.default_rng(seed)
    centres = 5 * np.eye(6)[: len(sizes)]
    near = [
        centre + 0.1 * rng.normal(size=(n, 6)) for centre, n in zip(centres, sizes, strict=True)
    ]
    known = [
        centre + 0.1 * rng.normal(size=(n, 6)) for centre, n in zip(centres, labelled, strict=True)
    ]
    rows = unit_rows(np.concatenate(near))
    ids = [f"img_{number}" for number in range(len(rows))]
    return Candidates(ids, rows, unit_rows(np.concatenate(known)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("labelled", "n"),
    [((0, 0, 0, 0), 4), ((1, 0, 1, 0), 2), ((0, 3, 0, 0), 1)],
)
def test_typiclust_picks_what_theirs_picks(seed: int, labelled: tuple[int, ...], n: int) -> None:
    """Four groups that any k-means finds, so large that both look at 20 neighbours.

    L + n clusters are then 4 for both. From the second pick in a group on they differ.
    """
    given = far_groups(seed, (60, 55, 50, 45), labelled)
    ours = positions(select("typiclust", given, n))
    assert ours == theirs(TypiClust(k=20, random_state=0), given, n)


class Known(SkactivemlClassifier):  # type: ignore[misc]
    """A classifier that says what it was given."""

    def __init__(self, probs: np.ndarray | None = None) -> None:
        super().__init__(classes=list(range(CLASSES)))
        self.probs = probs

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Known":
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        assert self.probs is not None
        return self.probs


def gradients(given: Candidates) -> np.ndarray:
    """(N, K·D) written out: (p − onehot) ⊗ h."""
    residual = np.array(given.probs["kind"][:], dtype=np.float64)
    residual[np.arange(len(residual)), residual.argmax(axis=1)] -= 1
    return np.einsum("nk,nd->nkd", residual, given.bottlenecks[:]).reshape(len(residual), -1)


@pytest.mark.parametrize("seed", SEEDS)
def test_badge_starts_as_theirs_does(seed: int) -> None:
    """With the longest gradient; its score is the square of that, which is their utility."""
    given = drawn(seed, labelled=0)
    rows, unlabelled = given.bottlenecks[:], np.full(len(given.ids), np.nan)
    picks, utilities = Badge().query(
        rows,
        unlabelled,
        Known(given.probs["kind"][:]),
        fit_clf=False,
        batch_size=1,
        return_utilities=True,
    )
    batch = select("badge", given, 1)
    assert positions(batch) == picks
    share = batch.scores[0] / np.square(gradients(given)).sum()
    assert share == pytest.approx(float(np.nanmax(utilities[0])), rel=1e-5)


def test_badge_draws_by_their_distances() -> None:
    """The second of two picks over 2,000 seeds, against their D² over its sum.

    D² is asked of their own function: their `query` keeps the square of a gradient as a bound of
    D², as if one of length 0 had been picked first, which the paper does not.
    """
    given = drawn(3, n=9, labelled=0)
    written_out = gradients(given)
    first = int(np.square(written_out).sum(axis=1).argmax())
    squares = _d_2(written_out, [first], np.full(9, np.inf))
    counts = np.zeros(9)
    for seed in range(2000):
        batch = select("badge", given, 2, seed)
        picks = positions(batch)
        (second,) = (pick for pick in picks if pick != first)
        assert batch.scores[picks.index(second)] == pytest.approx(squares[second], rel=1e-4)
        counts[second] += 1
    others = np.arange(9) != first
    wanted = 2000 * squares[others] / squares[others].sum()
    assert chisquare(counts[others], wanted).pvalue > 0.001


def test_badge_of_four_has_distances_to_the_nearest_pick() -> None:
    """The set of scores is that of some order of the picks: 3! orders after the first."""
    given = drawn(4, n=30, labelled=0)
    written_out = gradients(given)
    first = int(np.square(written_out).sum(axis=1).argmax())
    batch = select("badge", given, 4)
    by_pick = dict(zip(positions(batch), batch.scores, strict=True))
    rest = [pick for pick in by_pick if pick != first]
    assert any(
        all(
            by_pick[pick] == pytest.approx(distance, rel=1e-4)
            for pick, distance in zip(order, in_turn(written_out, [first, *order]), strict=True)
        )
        for order in permutations(rest)
    )


def in_turn(written_out: np.ndarray, picks: list[int]) -> list[float]:
    """Their squared distance of each pick but the first to the nearest one before it."""
    nearest = np.full(len(written_out), np.inf)
    result = []
    for before, pick in pairwise(picks):
        nearest = _d_2(written_out, [before], nearest)
        result.append(float(nearest[pick]))
    return result
