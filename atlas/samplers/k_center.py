"""k-center greedy: cover the pool; each pick is the image farthest from all covered ones."""

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import unit_rows
from atlas.samplers import batch_of, check_size, top_n
from atlas.types import Batch, Candidates

CHUNK = 16384


class KCenter:
    """Farthest-first traversal (Gonzalez 1985), within twice the optimal radius.

    Distances are Euclidean between bottlenecks of length 1. The labelled images are the first
    centres; with none, the first pick is random. The score of a pick is its distance, in [0, 2],
    to the nearest centre before it.
    """

    needs_model = False

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        rows = unit_rows(candidates.bottlenecks[:])
        distance = _to_nearest(rows, unit_rows(candidates.labelled[:]))
        chosen, scores = [], []
        for _ in range(n):
            pick = int(top_n(distance, candidates.ids, n=1, rng=rng)[0])
            scores.append(max(float(distance[pick]), 0.0))
            chosen.append(pick)
            distance = np.minimum(distance, np.linalg.norm(rows - rows[pick], axis=1))
            distance[chosen] = -1.0  # a copy of a pick has distance 0 and may still be picked
        reasons = [f"unlike anything labelled (distance {score:.2f})" for score in scores]
        return batch_of(candidates, np.array(chosen, dtype=np.intp), np.array(scores), reasons)


def _to_nearest(rows: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) distance of each unit row to its nearest centre; 2, the largest there is, with none."""
    nearest = np.full(len(rows), 2.0, dtype=np.float32)
    for start in range(0, len(rows) if len(centres) else 0, CHUNK):
        part = rows[start : start + CHUNK]
        cosine = (part @ centres.T).max(axis=1)
        nearest[start : start + CHUNK] = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return nearest


SAMPLER = KCenter
