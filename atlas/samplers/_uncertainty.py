"""What the uncertainty samplers share: one score from one level's probabilities."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from atlas.samplers import by_score, check_size, probs_at, torn_between
from atlas.types import Batch, Candidates


class Uncertainty(ABC):
    """Takes the n images of which the model is least certain.

    Args:
        level: whose classes; "" is the finest.
    """

    needs_model = True

    def __init__(self, level: str = "") -> None:
        self.level = level

    @abstractmethod
    def score(self, probs: NDArray[np.floating]) -> NDArray[np.floating]:
        """(N, K) probabilities, rows sum to 1 → (N,) in [0, 1], higher = less certain."""

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        level, probs = probs_at(candidates, self.level)
        return by_score(
            candidates,
            self.score(probs),
            lambda i: torn_between(candidates, level, i),
            n=n,
            rng=rng,
        )
