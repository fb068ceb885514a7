"""Least confidence: prefer images whose best class is least likely."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers._uncertainty import Uncertainty


class LeastConfidence(Uncertainty):
    """Score (1 − p₁)·K/(K − 1) in [0, 1]: uniform → 1, one-hot → 0."""

    def score(self, columns: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Uncertainty`."""
        classes = len(columns)
        result: NDArray[np.floating] = (1 - columns.max(axis=0)) * classes / (classes - 1)
        return result


SAMPLER = LeastConfidence
