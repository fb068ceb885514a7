"""Logistic regression on bottlenecks: convex, converged and without chance, for samplers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from atlas.errors import SamplerError
from atlas.neighbors import as_float32
from atlas.samplers._reading import chunks
from atlas.types import Rows

Floats = NDArray[np.float64]

CONSTANT = 1e-6  # a feature that spreads less is a constant
MOST_STEPS = 100  # Newton needs about ten
CONVERGED = 1e-9  # twice the loss that is left to gain; one more full step leaves its square
SMALLEST_STEP = 1e-10
ROWS_IN_CACHE = 1024  # so many rows in float64 stay in a core's cache


@dataclass(frozen=True)
class Scale:
    """Mean and spread (D,) of a sample: features scaled by them are of one size.

    Fixed while heads are trained again and again, or one head could not be told from the next.
    """

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, *samples: NDArray[np.floating]) -> "Scale":
        """The scale of the (n, D) samples taken together; a constant feature has spread 1."""
        rows = np.concatenate([np.asarray(sample, dtype=np.float64) for sample in samples])
        spread = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(spread > CONSTANT, spread, 1.0))

    def __call__(self, rows: NDArray[np.floating]) -> Floats:
        """(n, D) bottlenecks → (n, D) scaled, as a copy."""
        scaled: Floats = (np.asarray(rows, dtype=np.float64) - self.mean) / self.spread
        return scaled


@dataclass(frozen=True)
class Linear:
    """Log odds of "yes": scaled rows @ weights (D,) + bias."""

    weights: Floats
    bias: float


def fit(rows: Floats, yes: NDArray[np.bool_], *, l2: float, start: Linear | None = None) -> Linear:
    """The one minimum of Σ log loss + l2/2·‖weights‖²; the bias is free, no row weighs more.

    Newton's method in float64 with backtracking. With fewer rows than features it is solved in the
    span of the rows, where the best weights lie; nothing is lost.

    Args:
        rows: (n, D) scaled.
        yes: (n,) which rows are "yes".
        l2: above 0; scikit-learn's `C` is 1/l2.
        start: a head to start from, such as that of almost the same rows; saves steps alone.

    Raises:
        SamplerError: rows of one kind only, rows that are not finite, or no convergence.
    """
    if yes.all() or not yes.any():
        raise SamplerError(f"{len(yes)} rows of one kind; a head needs both kinds to tell apart")
    if not np.isfinite(rows).all():
        raise SamplerError("a bottleneck to learn from is not finite; embed the images again")
    basis = np.linalg.qr(rows.T)[0] if len(rows) < rows.shape[1] else None
    inside = rows if basis is None else rows @ basis
    weights = np.zeros(rows.shape[1]) if start is None else start.weights
    bias = np.log(yes.sum() / (~yes).sum()) if start is None else start.bias
    first = np.append(weights if basis is None else weights @ basis, bias)
    found = _newton(np.column_stack([inside, np.ones(len(rows))]), yes, l2, first)
    return Linear(found[:-1] if basis is None else basis @ found[:-1], float(found[-1]))


def log_odds(rows: Rows, heads: Sequence[Linear], scale: Scale) -> NDArray[np.float32]:
    """(N, H) log odds of N bottlenecks by each of H heads, read once, in slices.

    Summed in float64 and rounded at the end, so that equal rows get equal log odds wherever in a
    slice they stand: the order in which a matrix product sums depends on the place.
    """
    plain = [head.weights / scale.spread for head in heads]
    bias = [head.bias - scale.mean @ weights for head, weights in zip(heads, plain, strict=True)]
    result = np.empty((len(rows), len(heads)), dtype=np.float32)
    for part in chunks(len(rows), ROWS_IN_CACHE):
        block = as_float32(rows[part]).astype(np.float64)
        for number, weights in enumerate(plain):  # so narrow a matrix product is slower, 2 to 70 ×
            result[part, number] = block @ weights + bias[number]
    return result


def _newton(rows: Floats, yes: NDArray[np.bool_], l2: float, start: Floats) -> Floats:
    """The best (D + 1,) weights and bias; the last column of `rows` is 1, its weight is free."""
    penalty = np.full(rows.shape[1], l2)
    penalty[-1] = 0.0

    def loss(at: Floats) -> float:
        odds = rows @ at
        return float(np.logaddexp(0, odds).sum() - odds[yes].sum() + penalty @ at**2 / 2)

    now = start
    for _ in range(MOST_STEPS):
        chance = expit(rows @ now)
        slope = rows.T @ (chance - yes) + penalty * now
        weighted = rows * np.sqrt(chance * (1 - chance))[:, None]
        bend = weighted.T @ weighted + np.diag(penalty)
        # by numpy, not by scipy's Cholesky: that brings threads of its own, which fight with
        # numpy's (34 ms instead of 2 on 2 cores); `bend` is so well behaved that LU is as good
        step = -np.linalg.solve(bend, slope)
        gain = -float(slope @ step)
        if gain <= CONVERGED:
            result: Floats = now + step
            return result
        size, before = 1.0, loss(now)
        while size > SMALLEST_STEP and loss(now + size * step) > before - 1e-4 * size * gain:
            size /= 2
        now = now + size * step
    raise SamplerError(f"a head did not converge in {MOST_STEPS} steps; the rows are too extreme")
