"""Least confidence: prefer images whose best class is least likely."""

import numpy as np

from atlas.samplers import by_score, check_size, probs_at, torn_between
from atlas.types import Batch, Candidates


class LeastConfidence:
    """Score (1 − p₁)·K/(K − 1) in [0, 1]: uniform → 1, one-hot → 0.

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
        classes = probs.shape[1]
        scores = (1 - probs.max(axis=1)) * classes / (classes - 1)
        return by_score(
            candidates, scores, lambda i: torn_between(candidates, level, i), n=n, rng=rng
        )


SAMPLER = LeastConfidence
