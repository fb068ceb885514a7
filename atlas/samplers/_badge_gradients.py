"""BADGE's gradients as products q ⊗ h, which are never multiplied out."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import as_float32
from atlas.samplers._reading import chunks
from atlas.types import Candidates

ROWS = 1024  # as float32 they stay in a core's cache
DISTANCES = 2**19  # so do so many of these
COPY = 2e-5  # a squared distance below this part of |g|² is rounding: float32 cannot tell


@dataclass(frozen=True)
class Gradients:
    """M gradients g = q ⊗ h, each C·D numbers.

    Attributes:
        q: (M, C) what the prediction would change by, were the predicted class right.
        h: (M, D) bottlenecks.
        squares: (M,) |g|² = |q|²|h|².
    """

    q: NDArray[np.float32]
    h: NDArray[np.float32]
    squares: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> "Gradients":
        return Gradients(self.q[rows], self.h[rows], self.squares[rows])


def joined(first: Gradients, second: Gradients) -> Gradients:
    """The gradients of both, in order."""
    return Gradients(
        np.concatenate([first.q, second.q]),
        np.concatenate([first.h, second.h]),
        np.concatenate([first.squares, second.squares]),
    )


def square_distances(first: Gradients, second: Gradients) -> NDArray[np.floating]:
    """(M, P) squared distances |g_i|² + |g_j|² − 2 (q_i·q_j)(h_i·h_j); of copies exactly 0."""
    squares = first.squares[:, None]
    distances = _less_own_square(first, second) + squares
    return np.where(distances < COPY * squares, 0, distances)


def to_nearest(some: Gradients, picks: Gradients) -> NDArray[np.floating]:
    """(M,) squared distance to the nearest of P > 0 picks, a block of picks at a time."""
    nearest = np.full(len(some), np.inf)
    for part in chunks(len(picks), max(DISTANCES // max(len(some), 1), 1)):
        np.minimum(nearest, _less_own_square(some, picks[part]).min(axis=1), out=nearest)
    nearest += some.squares
    return np.where(nearest < COPY * some.squares, 0, nearest)


def _less_own_square(first: Gradients, second: Gradients) -> NDArray[np.float32]:
    """(M, P) |g_j|² − 2 g_i·g_j: two small matrix products and two sweeps in the cache."""
    result = first.q @ (-2 * second.q.T)
    result *= first.h @ second.h.T
    result += second.squares.astype(np.float32)
    return result


class PoolGradients:
    """The gradients of all candidates, read a few rows at a time.

    Args:
        candidates: with `probs`.
        weights: level → weight; the q of a level is scaled by the weight's root, so that squared
            distances are weighted sums over levels.
    """

    def __init__(self, candidates: Candidates, weights: Mapping[str, float]) -> None:
        self._h = candidates.bottlenecks
        self._probs = [(candidates.probs[name], sqrt(w)) for name, w in weights.items()]

    def __len__(self) -> int:
        return len(self._h)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Gradients:
        h = as_float32(self._h[rows])
        q = np.concatenate([_residual(probs[rows]) * root for probs, root in self._probs], axis=1)
        squares = _squares(q).astype(np.float64) * _squares(h)
        return Gradients(q, h, squares)

    def squares(self) -> NDArray[np.float64]:
        """(N,) squared length of every gradient."""
        result = np.empty(len(self))
        for part in chunks(len(self), ROWS):
            result[part] = self[part].squares
        return result


def _residual(probs: NDArray[np.floating]) -> NDArray[np.float32]:
    """(M, K) p minus 1 at the largest of each row."""
    result = np.array(probs, dtype=np.float32)
    result[np.arange(len(result)), result.argmax(axis=1)] -= 1
    return result


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M,) squared lengths."""
    result: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return result
