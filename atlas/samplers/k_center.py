"""k-center greedy: cover the pool; each pick is the image farthest from all covered ones."""

import numpy as np

from atlas.samplers import batch_of, check_size
from atlas.samplers._frontier import farthest_first
from atlas.types import Batch, Candidates


class KCenter:
    """Farthest-first traversal (Gonzalez 1985), exact, within twice the optimal radius.

    Distances are Euclidean between bottlenecks of length 1. The labelled images are the first
    centres; with none, the first pick is random. The score of a pick is its distance, in [0, 2],
    to the nearest centre before it.
    """

    needs_model = False

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        found = farthest_first(candidates, n=n, rng=rng)
        reasons = [f"unlike anything labelled (distance {score:.2f})" for score in found.distances]
        if len(candidates.labelled) == 0:
            reasons[0] = "the first of all, drawn at random"
        return batch_of(candidates, found.picks, found.distances, reasons)


SAMPLER = KCenter
