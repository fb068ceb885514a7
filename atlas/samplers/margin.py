"""Margin: prefer images whose two best classes are nearly tied."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers._uncertainty import Uncertainty, top_two


class Margin(Uncertainty):
    """Score 1 − (p₁ − p₂) in [0, 1]."""

    def score(self, columns: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Uncertainty`."""
        best, second = top_two(columns)
        result: NDArray[np.floating] = 1 - (best - second)
        return result


SAMPLER = Margin
