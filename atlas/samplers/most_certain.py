"""Most certain: the images the model is surest of, to check what it takes for granted."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers._uncertainty import Uncertainty
from atlas.types import Candidates


class MostCertain(Uncertainty):
    """Score p₁ in [0, 1]. For finding confident mistakes; it teaches little."""

    def score(self, columns: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Uncertainty`; here higher = more certain."""
        result: NDArray[np.floating] = columns.max(axis=0)
        return result

    def reason(self, candidates: Candidates, level: str, position: int) -> str:
        """See `Uncertainty`."""
        probs = candidates.probs[level][np.array([position])][0]
        best = candidates.classes[level][int(probs.argmax())].rpartition("/")[2]
        return f"sure of {best} {probs.max():.2f}: is it?"


SAMPLER = MostCertain
