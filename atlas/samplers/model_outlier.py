"""Model outlier: images whose answers are low among those the head gives to images it is for."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers import by_score, check_size, torn_between
from atlas.samplers._fallback import StandIn
from atlas.samplers._levels import Level, focus_level
from atlas.samplers._reading import chunks
from atlas.types import Batch, Candidates, FloatArray

SMALLEST = 1e-7  # probabilities are kept this far from 0 and 1, where log odds are infinite
Ranking = tuple[NDArray[np.float64], NDArray[np.float64]]


class ModelOutlier:
    """Score 1 − the rank of the candidate's best log odds, in [0, 1].

    After Munro, Human-in-the-Loop Machine Learning (2021), ch. 3. The rank, from 0 for the lowest
    to 1 for the highest, is among the log odds log p/(1−p) of the same class that heads gave to
    labelled images they never saw; between two of those it is interpolated.

    The book takes the mean rank over all classes of the raw outputs. Those are known only up to a
    constant an image: where one class is high the others are low, so that the mean is lowest for
    what the model is surest of (docs/log.md has what that costs). The best class alone is not.

    Args:
        level: see `level_weights`; of several the one of the largest weight.
        fallback: the sampler that stands in.
    """

    needs_model = True

    def __init__(self, level: Level = "auto", fallback: str = "least_confidence") -> None:
        self.level = level
        self.stand_in = StandIn(fallback, level)

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        level = focus_level(candidates, self.level)
        seen = _predicted(candidates, level)
        if not len(seen):
            why = "too few labels to know an outlier"
            return self.stand_in.select(candidates, why, n=n, rng=rng)
        scores = _outlying(candidates, level, seen)

        def reasons(chosen: NDArray[np.intp]) -> list[str]:
            torn = torn_between(candidates, level, chosen)
            return [
                f"unlike what the model knows {score:.2f}: {guess}"
                for score, guess in zip(scores[chosen], torn, strict=True)
            ]

        return by_score(candidates, scores, reasons, n=n, rng=rng)


def _predicted(candidates: Candidates, level: str) -> FloatArray:
    """(V, K) out-of-fold probabilities of the labelled images that have them."""
    probs = candidates.labelled_probs.get(level)
    if probs is None:
        return np.empty((0, 0))
    found: FloatArray = probs[~np.isnan(probs).any(axis=1)]
    return found


def _outlying(candidates: Candidates, level: str, seen: FloatArray) -> NDArray[np.float64]:
    """(N,) scores; NaN where a probability is not finite."""
    rankings = [_ranking(column) for column in log_odds(seen).T]
    probs = candidates.probs[level]
    result = np.empty(len(probs))
    for part in chunks(len(probs)):
        some = probs[part]
        odds, best = log_odds(some.max(axis=1)), some.argmax(axis=1)
        ranks = np.empty(len(some))
        for k, ranking in enumerate(rankings):
            ranks[best == k] = np.interp(odds[best == k], *ranking)
        result[part] = np.where(np.isfinite(some).all(axis=1), 1 - ranks, np.nan)
    return result


def _ranking(values: NDArray[np.float64]) -> Ranking:
    """Distinct values, ascending, and their ranks in [0, 1]; equals share their mean rank."""
    distinct, counts = np.unique(values, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return distinct, middle / (len(values) - 1) if len(values) > 1 else np.array([0.5])


def log_odds(probs: FloatArray) -> NDArray[np.float64]:
    """Log p/(1−p), finite for p in [0, 1]; any shape."""
    kept = np.clip(probs.astype(np.float64), SMALLEST, 1 - SMALLEST)
    result: NDArray[np.float64] = np.log(kept / (1 - kept))
    return result


SAMPLER = ModelOutlier
