"""Representative: images that look like the pool and unlike what is labelled."""

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import as_float32
from atlas.samplers import by_score, check_size
from atlas.samplers._reading import chunks
from atlas.types import Batch, Candidates, Rows

ROWS_IN_CACHE = 1024
DIGITS = 6  # of a cosine in float32; beyond them equal images would differ by rounding


class Representative:
    """Score cos(x, mean of the pool) − cos(x, mean of the labelled), in [−2, 2].

    Munro, Human-in-the-Loop Machine Learning (2021), ch. 4. The means are of bottlenecks of length
    1, so that no image counts for more than another. With no labelled image the second term is 0.
    """

    needs_model = False

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        pool, lengths = _direction(candidates.bottlenecks)
        labelled, _ = _direction(candidates.labelled)
        difference = (pool - labelled).astype(np.float32)
        scores = np.empty(len(lengths), dtype=np.float32)
        for part in chunks(len(scores), ROWS_IN_CACHE):
            some = as_float32(candidates.bottlenecks[part])
            scores[part] = np.einsum("ij,j->i", some, difference) / lengths[part]
        words = "looks like the pool" + (
            " and unlike the labels" if len(candidates.labelled) else ""
        )
        return by_score(
            candidates,
            scores.round(DIGITS),
            lambda chosen: [f"{words} ({score:.2f})" for score in scores[chosen]],
            n=n,
            rng=rng,
        )


def _direction(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The mean of (N, D) rows of length 1, itself brought to length 1, and the (N,) lengths.

    Zero without rows. No row is divided: the sum is weighted. einsum, as threads that share so
    little work wait longer for each other than they work.
    """
    lengths = np.empty(len(rows), dtype=np.float32)
    total = np.zeros(rows[:0].shape[1])
    for part in chunks(len(rows), ROWS_IN_CACHE):
        some = as_float32(rows[part])
        lengths[part] = np.maximum(np.sqrt(np.einsum("ij,ij->i", some, some)), 1e-12)
        total += np.einsum("ij,i->j", some, 1 / lengths[part])
    return total / max(float(np.linalg.norm(total)), 1e-12), lengths


SAMPLER = Representative
