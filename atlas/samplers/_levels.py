"""Active learning over the hierarchy: which levels a sampler's scores are about."""

from collections.abc import Mapping

import numpy as np

from atlas.errors import SamplerError
from atlas.samplers._reading import chunks
from atlas.types import Candidates

FINEST = "finest"
RELIABLE = 0.9
Level = str | Mapping[str, float]


def level_weights(candidates: Candidates, level: Level = "") -> dict[str, float]:
    """Level → weight; weights are positive and sum to 1.

    Args:
        candidates: with `probs`.
        level: one level's name; "finest"; level → weight; or "", the default weighting: all weight
            on the shallowest level that is not yet reliable, on the finest where all are. A level
            is reliable when the model expects to be right there on 90% of the candidates: the mean
            of their best calibrated probability, which needs no label.

    Raises:
        SamplerError: an unknown level, a negative weight, or no positive one.
    """
    known = list(candidates.probs)
    if not isinstance(level, str):
        return _normalised(level, known)
    if level == FINEST:
        return {known[-1]: 1.0}
    if level:
        return _normalised({level: 1.0}, known)
    for name in known[:-1]:
        if expected_accuracy(candidates, name) < RELIABLE:
            return {name: 1.0}
    return {known[-1]: 1.0}


def focus_level(candidates: Candidates, level: Level = "") -> str:
    """The level of the largest weight, the finer of equals; for samplers that look at one alone."""
    weights = level_weights(candidates, level)
    return max(reversed(weights), key=lambda name: weights[name])


def expected_accuracy(candidates: Candidates, level: str) -> float:
    """Mean of the candidates' best probability at a level, in [0, 1]; 0 with no candidate."""
    probs = candidates.probs[level]
    total = sum(float(probs[part].max(axis=1).sum(dtype=np.float64)) for part in chunks(len(probs)))
    return total / max(len(probs), 1)


def _normalised(weights: Mapping[str, float], known: list[str]) -> dict[str, float]:
    for name, weight in weights.items():
        if name not in known:
            raise SamplerError(
                f"no level {name!r} to sample by; known: {', '.join(known)}, or {FINEST!r}"
            )
        if not weight >= 0:
            raise SamplerError(f"the weight of level {name!r} is {weight}; give 0 or more")
    total = sum(weights.values())
    if not total > 0:
        raise SamplerError("all level weights are 0; give one a positive weight")
    return {name: weights[name] / total for name in known if weights.get(name, 0) > 0}
