"""Farthest-first traversal of rows on the disk, exact, without b passes over them.

A distance to the nearest centre only ever falls when centres are added. So the last one known is an
upper bound, and a row whose bound is small needs no new look. The traversal holds a *frontier* in
memory: the few thousand rows of the largest bounds, brought up to date. As long as the farthest of
them is farther than every bound outside, it is the farthest of all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import nearest_centre, unit_rows
from atlas.samplers import top_n
from atlas.samplers._reading import chunks
from atlas.types import Candidates, Rows

FRONTIER = 8192  # rows at most, and at most a sixteenth of a pool above 16,384
BLOCK = 1024
HEAD = 256
CHUNK = 4096
MOST_CENTRES = 1024
NOISE = 1e-5
"""Above the rounding of a squared float32 distance; what is nearer to the top than this is computed
again in float64, so that rounding decides no pick and copies of a centre come out at 0."""


@dataclass(frozen=True)
class Traversal:
    """Picks in order.

    Attributes:
        picks: (n,) row numbers.
        distances: (n,) of each pick to its nearest centre before it, in [0, 2], never rising.
        computed: how many distances it took; the plain way takes (labelled + n) · N.
    """

    picks: NDArray[np.intp]
    distances: NDArray[np.float64]
    computed: int


def farthest_first(candidates: Candidates, *, n: int, rng: np.random.Generator) -> Traversal:
    """`n` times the candidate farthest from all centres, which is a centre from then on.

    Args:
        candidates: N ≥ n; distances are Euclidean between bottlenecks scaled to length 1. The
            labelled are the first centres; with none the first pick is random, its distance 2.
        n: how many.
        rng: breaks ties.

    Raises:
        NonFiniteScores: a bottleneck is NaN or infinite.
    """
    search = _Search(candidates, n, rng)
    if len(candidates.labelled) == 0:
        first = np.array([rng.integers(len(candidates.ids))])
        search.add(int(first[0]), unit_rows(candidates.bottlenecks[first])[0], 4.0)
    search.start()
    while len(search.picks) < n:
        search.draw_frontier()
        search.pick_within()
    # a hair of rounding between two centres equally near must not let the radius rise
    squares = np.minimum.accumulate(search.squares)
    return Traversal(np.array(search.picks, dtype=np.intp), np.sqrt(squares), search.computed)


class _Centres:
    """The labelled rows, which stay where they are, then the picks."""

    def __init__(self, labelled: Rows, room: int, width: int) -> None:
        self.labelled = labelled
        self.picked = np.empty((room, width), dtype=np.float32)
        self.count = len(labelled)

    def add(self, row: NDArray[np.float32]) -> None:
        self.picked[self.count - len(self.labelled)] = row
        self.count += 1

    def parts(self, start: int) -> Iterator[slice]:
        """Those from `start` on in slices, none across the border of labelled and picked."""
        border = len(self.labelled)
        for first, last in ((start, border), (max(start, border), self.count)):
            for part in chunks(max(last - first, 0), MOST_CENTRES):
                yield slice(part.start + first, part.stop + first)

    def read(self, part: slice) -> NDArray[np.float32]:
        border = len(self.labelled)
        if part.start < border:
            return unit_rows(self.labelled[part])
        return self.picked[part.start - border : part.stop - border]

    def take(self, numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        result = np.empty((len(numbers), self.picked.shape[1]), dtype=np.float32)
        old = numbers < len(self.labelled)
        if old.any():
            result[old] = unit_rows(self.labelled[numbers[old]])
        result[~old] = self.picked[numbers[~old] - len(self.labelled)]
        return result


class _Search:
    """What is known of all candidates, 12 bytes each, and the frontier."""

    def __init__(self, candidates: Candidates, n: int, rng: np.random.Generator) -> None:
        self.rows, self.ids, self.rng, self.n = candidates.bottlenecks, candidates.ids, rng, n
        self.centres = _Centres(candidates.labelled, n, self.rows[:1].shape[1])
        self.picks: list[int] = []
        self.squares: list[float] = []
        self.computed = 0
        self.bound = np.empty(len(self.ids), dtype=np.float32)  # squared; −1 once picked
        self.closest = np.empty(len(self.ids), dtype=np.int32)  # the centre it is measured from
        self.seen = np.empty(len(self.ids), dtype=np.int32)  # how many centres the bound knows

    def add(self, number: int, row: NDArray[np.float32], square: float) -> None:
        """A pick is a centre from now on."""
        self.picks.append(number)
        self.squares.append(square)
        self.centres.add(row)

    def start(self) -> None:
        """The distance to the first few centres, for all candidates, in one pass."""
        head = self.centres.read(slice(0, min(self.centres.count, HEAD)))
        for part in chunks(len(self.rows), CHUNK):
            self.bound[part], self.closest[part] = nearest_centre(unit_rows(self.rows[part]), head)
        self.bound[self.picks] = -1
        self.seen[:] = len(head)
        self.computed += len(head) * len(self.rows)

    def draw_frontier(self) -> None:
        """Hold the candidates of the largest bounds, and bring them up to date."""
        size = min(FRONTIER, max(len(self.ids) // 16, 1024), len(self.ids) - len(self.picks))
        drawn = top_n(self.bound, self.ids, n=size, rng=self.rng)
        self.at = np.sort(drawn)  # in the order of the disk
        self.held = unit_rows(self.rows[self.at])
        self.norms = np.einsum("ij,ij->i", self.held, self.held)  # 1, or 0 for a row of zeros
        self.value = self.bound[self.at].astype(np.float64)
        self.from_centre = self.closest[self.at].astype(np.intp)
        self.sharp = np.zeros(len(self.at), dtype=bool)
        self.bound[self.at] = -1
        self.outside = float(self.bound.max())
        seen = self.seen[self.at]
        order = np.argsort(seen, kind="stable")
        for block in chunks(len(order), BLOCK):  # alike in what they have seen; large for the GEMM
            behind = order[block]
            for part in self.centres.parts(int(seen[behind[0]])):
                near, number = nearest_centre(self.held[behind], self.centres.read(part))
                self._lower(behind, near, number + part.start)
                self.computed += len(behind) * (part.stop - part.start)

    def pick_within(self) -> None:
        """Pick as long as the farthest of the frontier is the farthest of all."""
        margin = -NOISE  # just drawn and level with the outside: the frontier is a fair draw
        while len(self.picks) < self.n:
            place = self._farthest()
            if self.value[place] < self.outside + margin:
                break
            margin = NOISE
            self._pick(place)
        self.bound[self.at] = self.value
        self.closest[self.at] = self.from_centre
        self.seen[self.at] = self.centres.count

    def _farthest(self) -> int:
        """A place in the frontier; what competes for it is measured in float64 first."""
        while True:
            close = np.flatnonzero(self.value >= self.value.max() - NOISE)
            blurred = close[~self.sharp[close]]
            if len(blurred) == 0:
                best = close[self.value[close] == self.value[close].max()]
                return int(self.rng.choice(best))
            centres = self.centres.take(self.from_centre[blurred])
            apart = self.held[blurred].astype(np.float64) - centres
            self.value[blurred] = np.einsum("ij,ij->i", apart, apart)
            self.sharp[blurred] = True

    def _pick(self, place: int) -> None:
        row, number = self.held[place], np.array([self.centres.count])
        self.add(int(self.at[place]), row, float(self.value[place]))
        self.value[place] = -1
        near = np.maximum(self.norms + self.norms[place] - 2 * (self.held @ row), 0)
        self._lower(np.arange(len(near)), near, np.broadcast_to(number, near.shape))
        self.computed += len(near)

    def _lower(
        self, places: NDArray[np.intp], near: NDArray[np.float32], number: NDArray[np.intp]
    ) -> None:
        """Some of the frontier were measured from other centres, some of which are nearer."""
        nearer = near < self.value[places]
        lowered = places[nearer]
        self.value[lowered] = near[nearer]
        self.from_centre[lowered] = number[nearer]
        self.sharp[lowered] = False
