"""Margin: prefer images whose two best classes are nearly tied."""

import numpy as np

from atlas.samplers import by_score, check_size, probs_at, torn_between
from atlas.types import Batch, Candidates


class Margin:
    """Score 1 − (p₁ − p₂) in [0, 1].

    Args:
        level: whose classes; "" is the finest.
    """

    needs_model = True

    def __init__(self, level: str = "") -> None:
        self.level = level

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        level, probs = probs_at(candidates, self.level)
        second, best = np.partition(probs, -2, axis=1)[:, -2:].T
        return by_score(
            candidates,
            1 - (best - second),
            lambda i: torn_between(candidates, level, i),
            n=n,
            rng=rng,
        )


SAMPLER = Margin
