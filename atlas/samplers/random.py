"""Uniform random: the baseline that every other sampler must beat."""

import numpy as np

from atlas.samplers import batch_of, check_size
from atlas.types import Batch, Candidates


class Random:
    """Every candidate is equally likely; all scores are 0."""

    needs_model = False

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        chosen = rng.choice(len(candidates.ids), n, replace=False)
        return batch_of(candidates, chosen, np.zeros(n), ["drawn at random"] * n)


SAMPLER = Random
