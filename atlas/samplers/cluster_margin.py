"""Cluster-margin: of the images with the smallest margins, some from every kind."""

import numpy as np
from numpy.typing import NDArray

from atlas.errors import SamplerError
from atlas.neighbors import kmeans, nearest_centre, unit_rows
from atlas.samplers import batch_of, check_size, top_n, torn_between
from atlas.samplers._levels import Level, heaviest, level_weights
from atlas.samplers._reading import chunks
from atlas.samplers.margin import Margin
from atlas.types import Batch, Candidates

PICKS_PER_CLUSTER = 2
ROWS = 4096


class ClusterMargin:
    """Citovsky et al. 2021 (2107.14263): a shortlist by margin, clustered, taken from in turn.

    Clusters are visited from the smallest to the largest, over and over, until there are n images;
    one that is used up is passed over. The score is the margin sampler's, in [0, 1].

    The paper clusters the whole pool once by average linkage and takes a random image of a cluster.
    Here only the shortlist is clustered, by k-means into n/2 clusters, and the smallest margin of a
    cluster is taken. Measured on CIFAR-10 (200 labels and two batches of 200, 10 seeds): accuracy
    is 0.4 ± 0.2 points above plain margin with this and −0.3 ± 0.4 with average linkage into n/4,
    which makes a huge cluster and many of a few images; random images instead are no better. For
    10,000 images k-means takes 2 s, average linkage 9 s and 1 GB.

    Args:
        level: see `level_weights`.
        factor: the shortlist is `factor`·n images, or all there are; at least 1.

    Raises:
        SamplerError: a factor below 1.
    """

    needs_model = True

    def __init__(self, level: Level = "auto", factor: int = 10) -> None:
        if factor < 1:
            raise SamplerError(f"the factor of cluster_margin is {factor}; give 1 or more")
        self.level = level
        self.factor = factor

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        weights = level_weights(candidates, self.level)
        told = heaviest(weights)
        scores = Margin(self.level).scores(candidates)
        size = min(self.factor * n, len(scores))
        shortlist = top_n(scores, candidates.ids, n=size, rng=rng)
        cluster = _clusters(candidates, shortlist, count=-(-n // PICKS_PER_CLUSTER), rng=rng)
        taken = np.sort(round_robin(cluster, n=n, rng=rng))  # the shortlist is best first
        sizes = np.bincount(cluster)[cluster[taken]]
        picked = shortlist[taken]
        reasons = [
            f"{guess}, {_of_group(int(alike))}"
            for guess, alike in zip(torn_between(candidates, told, picked), sizes, strict=True)
        ]
        return batch_of(candidates, picked, scores[picked], reasons)


def round_robin(cluster: NDArray[np.intp], *, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) numbers of items: the best of each cluster, smallest first, then its second, and so on.

    Args:
        cluster: (M,) cluster of each item, best item first.
        n: at most M.
        rng: orders clusters of equal size.
    """
    sizes = np.bincount(cluster)
    members = np.argsort(cluster, kind="stable")  # by cluster, and in it best first
    turn = np.empty(len(cluster), dtype=np.intp)
    turn[members] = np.arange(len(cluster)) - np.repeat(sizes.cumsum() - sizes, sizes)
    lot = rng.random(len(sizes))
    order: NDArray[np.intp] = np.lexsort((lot[cluster], sizes[cluster], turn))
    return order[:n]


def _clusters(
    candidates: Candidates, shortlist: NDArray[np.intp], *, count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """(M,) the cluster of each image of the shortlist."""
    rows = unit_rows(candidates.bottlenecks[shortlist])
    centres = kmeans(rows, clusters=count, rng=rng)
    result = np.empty(len(rows), dtype=np.intp)
    for part in chunks(len(rows), ROWS):
        result[part] = nearest_centre(rows[part], centres)[1]
    return result


def _of_group(size: int) -> str:
    return f"one of {size} alike" if size > 1 else "like no other of them"


SAMPLER = ClusterMargin
