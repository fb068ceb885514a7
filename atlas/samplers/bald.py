"""BALD: prefer images on which heads trained on different labels disagree."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers import by_score, check_size, torn_between
from atlas.samplers._fallback import StandIn
from atlas.samplers._levels import Level, heaviest, level_weights
from atlas.samplers._reading import chunks
from atlas.samplers._uncertainty import nats
from atlas.types import Batch, Candidates


class Bald:
    """Mutual information of prediction and head: H(mean p) − mean H(p), over log K, in [0, 1].

    Houlsby et al. 2011, with an ensemble instead of dropout: the heads of the cross-validation
    folds, which were trained anyway. Before there are enough labels for folds, `fallback` chooses.

    Args:
        level: see `level_weights`.
        fallback: the sampler that stands in while there is no ensemble.
    """

    needs_model = True

    def __init__(self, level: Level = "auto", fallback: str = "entropy") -> None:
        self.level = level
        self.stand_in = StandIn(fallback, level)

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        weights = level_weights(candidates, self.level)
        if not candidates.member_probs:
            why = "too few labels for an ensemble"
            return self.stand_in.select(candidates, why, n=n, rng=rng)
        scores = np.zeros(len(candidates.ids), dtype=np.float32)
        for level, weight in weights.items():
            scores += weight * _disagreement(candidates, level)
        told = heaviest(weights)

        def reasons(chosen: NDArray[np.intp]) -> list[str]:
            torn = torn_between(candidates, told, chosen)
            return [
                f"heads disagree {score:.2f}: {guess}"
                for score, guess in zip(scores[chosen], torn, strict=True)
            ]

        return by_score(candidates, scores, reasons, n=n, rng=rng)


def _disagreement(candidates: Candidates, level: str) -> NDArray[np.float32]:
    """(N,) mutual information at one level, in [0, 1]."""
    members = candidates.member_probs[level]
    result = np.zeros(len(candidates.ids), dtype=np.float32)
    for part in chunks(len(result)):
        each = [member[part] for member in members]
        of_mean = nats(np.mean(each, axis=0).T)
        mean_of = np.mean([nats(probs.T) for probs in each], axis=0)
        with np.errstate(invalid="ignore"):  # damaged ones become NaN, which is found later
            difference = of_mean - mean_of
        # rounding may leave a difference of equals a hair below 0
        result[part] = np.maximum(difference, 0) / np.log(max(each[0].shape[1], 2))
    return result


SAMPLER = Bald
