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

    def reasons(self, candidates: Candidates, level: str, positions: NDArray[np.intp]) -> list[str]:
        """See `Uncertainty`."""
        probs = candidates.probs[level][positions]
        names = [path.rpartition("/")[2] for path in candidates.classes[level]]
        return [
            f"sure of {names[best]} {chance:.2f}: is it?"
            for best, chance in zip(probs.argmax(axis=1), probs.max(axis=1), strict=True)
        ]


SAMPLER = MostCertain
