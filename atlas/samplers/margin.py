"""Margin: prefer images whose two best classes are nearly tied."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers._uncertainty import Uncertainty


class Margin(Uncertainty):
    """Score 1 − (p₁ − p₂) in [0, 1]."""

    def score(self, probs: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Uncertainty`."""
        second, best = np.partition(probs, -2, axis=1)[:, -2:].T
        result: NDArray[np.floating] = 1 - (best - second)
        return result


SAMPLER = Margin
