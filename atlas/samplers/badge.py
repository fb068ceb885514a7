"""BADGE: images that would change the head most, and each in another way."""

import numpy as np

from atlas.samplers import batch_of, check_size, torn_between
from atlas.samplers._badge_draw import Spread
from atlas.samplers._badge_gradients import PoolGradients
from atlas.samplers._levels import Level, heaviest, level_weights
from atlas.types import Batch, Candidates


class Badge:
    """Ash et al. 2019 (1906.03671): k-means++ drawing of gradients of the head's last layer.

    The gradient is that of the cross-entropy, were the predicted class right: (p − onehot) ⊗ h with
    the bottleneck h as it is, not scaled. Of several levels it is that of each, times the root of
    its weight, one after the other. The first pick has the longest gradient; each next one is drawn
    with a probability ∝ the squared distance to the nearest pick before it. When all that is left
    are copies, any are taken.

    The score is that squared distance (of the first pick: to a gradient of 0), ≥ 0. It may rise
    from one pick to the next, so the batch is in the order of scores and not of picks.

    Args:
        level: see `level_weights`.
    """

    needs_model = True

    def __init__(self, level: Level = "auto") -> None:
        self.level = level

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        weights = level_weights(candidates, self.level)
        told = heaviest(weights)
        spread = Spread(PoolGradients(candidates, weights), candidates.ids, rng)
        spread.grow(n)
        scores = np.array(spread.squares)
        best_first = np.argsort(-scores, kind="stable")
        picked = np.array(spread.chosen, dtype=np.intp)[best_first]
        torn = torn_between(candidates, told, picked)
        reasons = [f"unlike the other uncertain images: {guess}" for guess in torn]
        return batch_of(candidates, picked, scores[best_first], reasons)


SAMPLER = Badge
