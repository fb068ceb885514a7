"""k-means: one image from the middle of each of n clusters. The cold start for zero labels."""

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import kmeans, kmeans_sample, unit_rows
from atlas.samplers import batch_of, check_size
from atlas.samplers._reading import chunks
from atlas.types import Batch, Candidates, Rows

KEPT = 16
ENTRIES = 2**22
TIE = 4e-6
"""Above the rounding of a float32 cosine: what is nearer than this to being level is level."""


class KMeans:
    """Cluster the candidates into n groups and take the image nearest to each centre.

    Lloyd 1982 with the seeding of k-means++; distances are Euclidean between bottlenecks of length
    1. The centres come from a uniform sample (see `kmeans_sample`); the images are sought among all
    candidates. The score is minus the squared distance to the centre, in [−4, 0], so that the most
    typical image comes first.
    """

    needs_model = False

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        rows = candidates.bottlenecks
        sample = kmeans_sample(len(candidates.ids), clusters=n, rng=rng)
        centres = kmeans(unit_rows(rows[sample]), clusters=n, rng=rng)
        picks = nearest_free(rows, centres, rng)
        scores = -np.square(unit_rows(rows[picks]) - centres).sum(axis=1, dtype=np.float64)
        best_first = np.argsort(-scores, kind="stable")
        reasons = ["typical of a group of images nobody labelled"] * n
        return batch_of(candidates, picks[best_first], scores[best_first], reasons)


def nearest_free(
    rows: Rows, centres: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.intp]:
    """(n,) distinct row numbers, one a centre: its nearest that is not another's already.

    Where two centres want the same row, the nearer one has it. Ties fall by `rng`.

    Args:
        rows: (N, D), N ≥ n, read in slices; scaled to length 1 here.
        centres: (n, D).
        rng: breaks ties.
    """
    picks = np.full(len(centres), -1, dtype=np.intp)
    lots = rng.random(len(rows), dtype=np.float32) * np.float32(TIE)
    kept = KEPT
    while (picks < 0).any():
        lots[picks[picks >= 0]] = -np.inf  # taken
        waiting = np.flatnonzero(picks < 0)
        kept = min(kept, len(rows))
        closeness, numbers = _closest_rows(rows, centres[waiting], lots, kept)
        taken: set[int] = set()
        for entry in np.argsort(-closeness, axis=None, kind="stable").tolist():
            place, number = waiting[entry // kept], int(numbers.flat[entry])
            free = closeness.flat[entry] > -np.inf and number not in taken
            if free and picks[place] < 0:
                picks[place] = number
                taken.add(number)
        kept *= 8  # others took all that a centre had kept: look farther
    return picks


def _closest_rows(
    rows: Rows, centres: NDArray[np.float32], lots: NDArray[np.float32], kept: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """(n, kept) closeness and numbers of the rows closest to each centre, in no order.

    Closeness falls as the distance grows; (N,) `lots` are added to it.
    """
    closeness = np.full((len(centres), kept), -np.inf, dtype=np.float32)
    numbers = np.zeros((len(centres), kept), dtype=np.intp)
    for part in chunks(len(rows), max(ENTRIES // len(centres), 1)):
        found = centres @ unit_rows(rows[part]).T
        found += lots[part]
        # as rows go by, ever fewer centres meet one that is closer than what they keep
        better = np.flatnonzero(found.max(axis=1) > closeness.min(axis=1))
        both = np.concatenate([closeness[better], found[better]], axis=1)
        offered = np.broadcast_to(np.arange(part.start, part.stop), (len(better), found.shape[1]))
        named = np.concatenate([numbers[better], offered], axis=1)
        best = np.argpartition(-both, kept - 1, axis=1)[:, :kept]
        closeness[better] = np.take_along_axis(both, best, axis=1)
        numbers[better] = np.take_along_axis(named, best, axis=1)
    return closeness, numbers


SAMPLER = KMeans
