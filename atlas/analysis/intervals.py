"""The Wilson interval of many proportions at once."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from atlas.accuracy import CONFIDENCE

Z = float(ndtri((1 + CONFIDENCE) / 2))


def wilson_bounds(
    correct: NDArray[np.int64], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(M,) lower and upper ends in [0, 1], as `accuracy.wilson` gives one; NaN where n is 0.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), Wilson 1927.
    """
    some = np.where(n > 0, n, np.nan).astype(np.float64)
    share = correct / some
    spread = np.sqrt(share * (1 - share) / some + Z**2 / (4 * some**2))
    scale = 1 + Z**2 / some
    middle = share + Z**2 / (2 * some)
    low, high = (middle - Z * spread) / scale, (middle + Z * spread) / scale
    return np.where(correct == 0, 0 * low, low), np.where(correct == n, 0 * high + 1, high)
