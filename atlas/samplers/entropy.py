"""Entropy: prefer images whose probability is spread over many classes."""

import numpy as np
from scipy.special import entr

from atlas.samplers import by_score, check_size, probs_at, torn_between
from atlas.types import Batch, Candidates


class Entropy:
    """Score −Σ p·log p / log K in [0, 1]: uniform → 1, one-hot → 0 (0·log 0 is 0).

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
        scores = entr(probs).sum(axis=1) / np.log(probs.shape[1])
        return by_score(
            candidates, scores, lambda i: torn_between(candidates, level, i), n=n, rng=rng
        )


SAMPLER = Entropy
