"""Whether a model that says 80% is right eight times in ten."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.analysis.intervals import wilson_bounds

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Predictions grouped by how sure the model was.

    Attributes:
        edges: (B + 1,) of bins of equal width over [0, 1]; a prediction on an edge is in the lower.
        n: (B,) predictions in each bin.
        sure: (B,) mean probability; NaN in an empty bin, here and below.
        right: (B,) share that was right.
        low: (B,) lower end of its interval.
        high: (B,) upper end.
        error: expected calibration error in [0, 1]; NaN without predictions.
    """

    edges: NDArray[np.float64]
    n: NDArray[np.int64]
    sure: NDArray[np.float64]
    right: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    error: float


def reliability(
    sure: NDArray[np.float64], right: NDArray[np.bool_], *, bins: int = BINS
) -> Reliability:
    """Bins and ECE = Σ n_b/N · |right_b − sure_b| (Naeini et al. 2015; Guo et al. 2017).

    Args:
        sure: (N,) probability of the predicted class, in [0, 1].
        right: (N,) whether it was right.
        bins: B.
    """
    edges = np.linspace(0, 1, bins + 1).astype(np.float64)
    at = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    n = np.bincount(at, minlength=bins).astype(np.int64)
    correct = np.bincount(at[right], minlength=bins).astype(np.int64)
    some: NDArray[np.float64] = np.where(n > 0, n, np.nan).astype(np.float64)
    mean: NDArray[np.float64] = np.bincount(at, weights=sure, minlength=bins) / some
    share: NDArray[np.float64] = correct / some
    low, high = wilson_bounds(correct, n)
    error = float(np.nansum(n * np.abs(share - mean)) / len(sure)) if len(sure) else float("nan")
    return Reliability(edges, n, mean, share, low, high, error)
