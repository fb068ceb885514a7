"""k-means: one image from the middle of each of n clusters. The cold start for zero labels."""

import numpy as np

from atlas.neighbors import kmeans, nearest, unit_rows
from atlas.samplers import batch_of, check_size
from atlas.types import Batch, Candidates


class KMeans:
    """Cluster the candidates into n groups and take the image nearest to each centre.

    Distances are Euclidean between bottlenecks of length 1. The score is minus the squared distance
    to the centre, so the most typical image comes first.
    """

    needs_model = False

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        order = rng.permutation(len(candidates.ids))  # so that of equal images any may be first
        rows = unit_rows(candidates.bottlenecks[:])[order]
        centres = kmeans(rows, clusters=n, rng=rng)
        distances, numbers = nearest(rows, centres, k=min(n, len(rows)))
        chosen, scores = [], []
        for row_distances, row_numbers in zip(distances, numbers, strict=True):
            # two centres may share their nearest image: the later one takes its next nearest
            free = next(i for i, row in enumerate(row_numbers) if int(row) not in chosen)
            chosen.append(int(row_numbers[free]))
            scores.append(-float(row_distances[free]))
        best_first = np.argsort(-np.array(scores), kind="stable")
        picked = order[np.array(chosen, dtype=np.intp)[best_first]]
        reasons = ["typical of a group of images nobody labelled"] * n
        return batch_of(candidates, picked, np.array(scores)[best_first], reasons)


SAMPLER = KMeans
