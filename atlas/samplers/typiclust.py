"""TypiClust: the most typical image of each group that has the fewest labels."""

from collections.abc import Iterator
from dataclasses import dataclass
import heapq

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import kmeans, kmeans_sample, nearest_centre, unit_rows
from atlas.samplers import batch_of, check_size
from atlas.samplers._reading import chunks
from atlas.types import Batch, Candidates, Rows

MOST_CLUSTERS = 500
TOO_SMALL = 5
NEIGHBOURS = 20
EXACT = 1024
CHUNK = 4096
TIE = 1e-6
"""Mean distances that differ by less than this are equal but for float32 rounding."""


class TypiClust:
    """Hacohen et al. 2022, "Active Learning on a Budget".

    k-means makes min(L + n, 500) groups of the candidates and the labelled images. The group with
    the fewest labels, the largest of those, gives its most typical candidate, and has one label
    more from then on. Groups of up to 5 images wait until there is nothing else.

    Typicality is 1 / the mean Euclidean distance (bottlenecks of length 1; not squared) to the
    min(20, size / 2) nearest of the group's candidates, found once per batch. In groups of more
    than 1,024 candidates the neighbours are sought among 1,024 of them drawn uniformly.

    The score is the group's share of all images minus the labels it had, at most the score before.
    """

    needs_model = False

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        total = len(candidates.ids) + len(candidates.labelled)
        clusters = min(len(candidates.labelled) + n, MOST_CLUSTERS, total)
        groups = _groups(candidates, clusters, rng)
        picks, scores, reasons = [], [], []
        for group in _turns(groups, n, rng):
            picks.append(group.take(candidates.bottlenecks, rng))
            scores.append(group.size / total - group.labels)
            with_labels = f"{group.labels} labelled or chosen" if group.labels else "no label"
            reasons.append(f"typical of a group of {group.size} images with {with_labels}")
            group.labels += 1
        # small groups come last although they may have fewer labels
        falling = np.minimum.accumulate(scores)
        return batch_of(candidates, np.array(picks, dtype=np.intp), falling, reasons)


@dataclass
class Group:
    """One cluster.

    Attributes:
        members: numbers of its candidates; the most typical last, once that is known.
        labels: how many of its images have, or by this batch will have, a label.
        size: its candidates and labelled images at the start.
        ranked: whether `members` are in order.
    """

    members: NDArray[np.intp]
    labels: int
    size: int
    ranked: bool = False

    def take(self, rows: Rows, rng: np.random.Generator) -> int:
        """The most typical member, which leaves."""
        if not self.ranked:
            distance = mean_distance(unit_rows(rows[self.members]), rng)
            lots = TIE * rng.random(len(distance))
            self.members = self.members[np.argsort(-distance - lots)]
            self.ranked = True
        self.members, best = self.members[:-1], int(self.members[-1])
        return best


def _turns(groups: list[Group], n: int, rng: np.random.Generator) -> Iterator[Group]:
    """`n` times the group whose turn it is; the caller takes from it and counts the label."""
    lots = rng.permutation(len(groups)).tolist()  # the order of equals

    def rank(number: int) -> tuple[bool, int, int, int, int]:
        group = groups[number]
        return (group.size <= TOO_SMALL, group.labels, -group.size, lots[number], number)

    waiting = [rank(number) for number, group in enumerate(groups) if len(group.members)]
    heapq.heapify(waiting)
    for _ in range(n):
        number = heapq.heappop(waiting)[-1]
        yield groups[number]
        if len(groups[number].members):
            heapq.heappush(waiting, rank(number))


def _groups(candidates: Candidates, clusters: int, rng: np.random.Generator) -> list[Group]:
    """k-means over candidates and labelled alike."""
    rows, labelled = candidates.bottlenecks, candidates.labelled
    sample = kmeans_sample(len(rows) + len(labelled), clusters=clusters, rng=rng)
    border = np.searchsorted(sample, len(rows))
    drawn = [unit_rows(rows[sample[:border]]), unit_rows(labelled[sample[border:] - len(rows)])]
    centres = kmeans(np.concatenate(drawn), clusters=clusters, rng=rng)
    assigned = _assign(rows, centres)
    labels = np.bincount(_assign(labelled, centres), minlength=clusters)
    members = np.split(
        np.argsort(assigned, kind="stable"),
        np.cumsum(np.bincount(assigned, minlength=clusters))[:-1],
    )
    return [
        Group(some, int(count), len(some) + int(count))
        for some, count in zip(members, labels, strict=True)
    ]


def _assign(rows: Rows, centres: NDArray[np.float32]) -> NDArray[np.int16]:
    """(N,) number of each row's nearest centre."""
    result = np.empty(len(rows), dtype=np.int16)
    for part in chunks(len(rows), CHUNK):
        result[part] = nearest_centre(unit_rows(rows[part]), centres)[1]
    return result


def mean_distance(rows: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(size,) mean distance of each unit row to its min(20, size / 2) nearest others.

    Beyond 1,024 rows the others are 1,024 that `rng` draws. A lone row has 0.
    """
    size = len(rows)
    others = np.arange(size) if size <= EXACT else np.sort(rng.choice(size, EXACT, replace=False))
    count = min(NEIGHBOURS, size // 2)
    result = np.zeros(size, dtype=np.float32)
    rows = rows - rows.mean(axis=0)  # else rounding drowns the distances inside a tight group
    squares = np.einsum("ij,ij->i", rows, rows)
    for part in chunks(size if count else 0, CHUNK):
        apart = squares[part, np.newaxis] + squares[others] - 2 * (rows[part] @ rows[others].T)
        apart[apart < TIE] = 0  # copies: the root would magnify what rounding left
        column = np.flatnonzero((others >= part.start) & (others < part.stop))
        apart[others[column] - part.start, column] = np.inf  # itself
        apart.partition(count - 1, axis=1)
        result[part] = np.sqrt(apart[:, :count]).mean(axis=1)
    return result


SAMPLER = TypiClust
