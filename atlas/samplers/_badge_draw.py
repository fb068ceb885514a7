"""k-means++ drawing of gradients, exact, that reads few of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.samplers import top_n
from atlas.samplers._badge_gradients import (
    ROWS,
    PoolGradients,
    joined,
    square_distances,
    to_nearest,
)
from atlas.samplers._reading import chunks
from atlas.types import ImageId

DRAWS = 256  # candidates drawn at a time
# What things take, measured in the time of one more distance to a pick (12 ns):
DRAW = 1000  # draw a candidate and fetch its row
READ = 100  # read a row of the pool in order


class Spread:
    """Picks, each drawn with a probability ∝ D², its squared distance to the nearest pick.

    D² of the whole pool is never known. Each candidate has an upper bound B ≥ D²; one is drawn ∝ B
    and accepted with probability D²/B, so that accepted ones are drawn ∝ D² exactly. This holds for
    any B that was fixed before the draw, so a block is drawn at once and judged one by one, against
    the picks made meanwhile too. B starts as (|g_i| + |g_j|)², by the triangle inequality, for the
    shortest pick g_j; whoever was drawn gets its true D².

    Args:
        pool: N gradients.
        ids: N image ids, for the error.
        rng: breaks ties of the first pick and draws the others.

    Raises:
        NonFiniteScores: the length of a gradient is NaN or infinite.
    """

    def __init__(
        self, pool: PoolGradients, ids: Sequence[ImageId], rng: np.random.Generator
    ) -> None:
        self._pool, self._rng = pool, rng
        squares = pool.squares()
        first = top_n(squares, ids, n=1, rng=rng)
        self.chosen = [int(first[0])]
        self.squares = [float(squares[first[0]])]
        self._picks = pool[first]
        self._lengths = np.sqrt(squares)
        self._shortest = np.inf
        self._bound = np.full(len(squares), np.inf)
        self._bound[first] = 0
        self._wasted = self._seen = 0

    def grow(self, n: int) -> None:
        """Draw until there are `n` picks, at most N."""
        while len(self.chosen) < n:
            self._tighten()
            total = self._bound.cumsum()
            if not total[-1] > 0:
                self._take_any(n - len(self.chosen))
                return
            # the clip is for a lot that rounding moved past the end
            lots = np.searchsorted(total, self._rng.random(DRAWS) * total[-1], side="right")
            self._judge(np.minimum(lots, len(total) - 1), n)

    def _judge(self, drawn: NDArray[np.intp], n: int) -> None:
        """Accept or reject candidates that were drawn ∝ the bound; end at `n` picks."""
        some = self._pool[drawn]
        nearest = to_nearest(some, self._picks)
        between = square_distances(some, some)
        hurdle = self._rng.random(len(drawn)) * self._bound[drawn]
        taken = []
        for i in range(len(drawn)):
            if hurdle[i] < nearest[i]:
                self.chosen.append(int(drawn[i]))
                self.squares.append(float(nearest[i]))
                np.minimum(nearest, between[i], out=nearest)
                nearest[drawn == drawn[i]] = 0
                taken.append(i)
                if len(self.chosen) == n:
                    break
        self._bound[drawn] = np.minimum(self._bound[drawn], nearest)
        self._picks = joined(self._picks, some[np.array(taken, dtype=np.intp)])
        self._wasted += len(drawn) - len(taken)

    def _tighten(self) -> None:
        """Lower the bounds: by the shortest pick; by all true distances, once those pay."""
        shortest = float(np.sqrt(self._picks.squares.min()))
        if shortest < self._shortest:
            self._shortest = shortest
            np.minimum(self._bound, np.square(self._lengths + shortest), out=self._bound)
        new = self._picks[self._seen :]
        # draws in vain have taken as long as all distances to the new picks will
        if self._wasted * (DRAW + len(self._picks)) > len(self._pool) * (READ + len(new)):
            for part in chunks(len(self._pool) if len(new) else 0, ROWS):
                nearest = to_nearest(self._pool[part], new)
                np.minimum(self._bound[part], nearest, out=self._bound[part])
            self._seen, self._wasted = len(self._picks), 0

    def _take_any(self, count: int) -> None:
        """Only copies of picks are left, or gradients of 0 beside one: any will do."""
        left = np.ones(len(self._pool), dtype=bool)
        left[self.chosen] = False
        drawn = self._rng.choice(np.flatnonzero(left), count, replace=False)
        self.chosen += [int(i) for i in drawn]
        self.squares += [0.0] * count
