"""Entropy: prefer images whose probability is spread over many classes."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers._uncertainty import Uncertainty, nats


class Entropy(Uncertainty):
    """Score −Σ p·log p / log K in [0, 1]: uniform → 1, one-hot → 0 (0·log 0 is 0)."""

    def score(self, columns: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Uncertainty`."""
        result: NDArray[np.floating] = nats(columns) / np.log(len(columns))
        return result


SAMPLER = Entropy
