"""Active transfer learning for representation: prefer images that a head takes for the pool's."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from atlas.samplers import by_score, check_size
from atlas.samplers._fallback import StandIn
from atlas.samplers._linear import Linear, Scale, fit, log_odds
from atlas.types import Batch, Candidates

LEAST_SAMPLE = 2000
SAMPLES_A_LABEL = 4


class AtlRepresentative:
    """Score P(pool) in [0, 1], by a new linear head that tells labelled images from the pool's.

    Munro, Human-in-the-Loop Machine Learning, 2021, chapter 5. Cross-fitted: the pool is cut in two
    at random, a head learns from the labelled images and a sample of one half, and scores the
    other. A head that had seen an image as the pool's would know it again, and favour it.

    Args:
        fallback: the sampler that stands in while nothing is labelled, or one candidate is left.
    """

    needs_model = False

    def __init__(self, fallback: str = "kmeans") -> None:
        self.stand_in = StandIn(fallback)

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        if len(candidates.labelled) == 0:
            return self.stand_in.select(candidates, "nothing is labelled yet", n=n, rng=rng)
        if len(candidates.ids) == 1:
            return self.stand_in.select(candidates, "one candidate is left", n=n, rng=rng)
        chance = _chance_pool(candidates, rng)
        return by_score(
            candidates,
            chance,
            lambda chosen: [
                f"like the pool and unlike the labelled images ({one:.2f})"
                for one in chance[chosen]
            ],
            n=n,
            rng=rng,
        )


def _chance_pool(candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
    """(N,) P(pool) of each candidate, by the head of the half it is not in."""
    labelled = candidates.labelled[:]
    size = max(LEAST_SAMPLE, SAMPLES_A_LABEL * len(labelled))
    halves = np.array_split(rng.permutation(len(candidates.ids)), 2)
    samples = [candidates.bottlenecks[np.sort(half[:size])] for half in halves]
    scale = Scale.of(labelled, *samples)
    heads = [_head(scale(labelled), scale(sample)) for sample in samples]
    odds = log_odds(candidates.bottlenecks, heads, scale)
    result = np.empty(len(odds))
    for half, other in ((0, 1), (1, 0)):
        result[halves[half]] = expit(odds[halves[half], other].astype(np.float64))
    return result


def _head(labelled: NDArray[np.float64], pool: NDArray[np.float64]) -> Linear:
    rows = np.concatenate([labelled, pool])
    # a penalty of D: the D scaled features together move the log odds by about 1 beforehand
    return fit(rows, np.arange(len(rows)) >= len(labelled), l2=float(rows.shape[1]))


SAMPLER = AtlRepresentative
