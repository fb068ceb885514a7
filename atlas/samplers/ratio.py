"""Ratio: prefer images whose second best class is nearly as likely as the best."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers._uncertainty import Uncertainty, top_two


class Ratio(Uncertainty):
    """Score p₂ / p₁ in [0, 1], which is exp(z₂ − z₁) of the logits."""

    def score(self, columns: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Uncertainty`."""
        best, second = top_two(columns)
        # not second / best, which would make a sane 0 of a damaged, infinite best
        with np.errstate(invalid="ignore"):
            result: NDArray[np.floating] = 1 - (best - second) / best
        return result


SAMPLER = Ratio
