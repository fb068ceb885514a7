"""Active learning over the hierarchy: which levels a sampler's scores are about."""

from collections.abc import Mapping

import numpy as np

from atlas.errors import SamplerError
from atlas.types import Candidates

FINEST = "finest"
AUTO = "auto"
RELIABLE = 0.7
SAMPLE = 1000
Level = str | Mapping[str, float]


def level_weights(candidates: Candidates, level: Level = "auto") -> dict[str, float]:
    """Level → weight; weights are positive and sum to 1.

    Args:
        candidates: with `probs`.
        level: one level's name; "finest"; level → weight; or "auto": all weight on the shallowest
            level that is not yet reliable, on the finest where all are. A level is reliable when
            its `agreement` reaches 70%.

    Raises:
        SamplerError: an unknown level, a negative weight, or no positive one.
    """
    known = list(candidates.probs)
    if not isinstance(level, str):
        return _normalised(level, known)
    if level == FINEST:
        return {known[-1]: 1.0}
    if level != AUTO:
        return _normalised({level: 1.0}, known)
    for name in known[:-1]:
        if agreement(candidates, name) < RELIABLE:
            return {name: 1.0}
    return {known[-1]: 1.0}


def focus_level(candidates: Candidates, level: Level = "auto") -> str:
    """The level of the largest weight, the finer of equals; for samplers that look at one alone."""
    return heaviest(level_weights(candidates, level))


def heaviest(weights: Mapping[str, float]) -> str:
    """The level of the largest weight, the finer of equals."""
    return max(reversed(list(weights)), key=lambda name: weights[name])


def agreement(candidates: Candidates, level: str) -> float:
    """Share of candidates on which all heads of the ensemble name the same class, in [0, 1].

    Where heads trained on different labels agree, other labels would change little: what is still
    wrong there is the bottleneck's fault. (Expected accuracy would not do: a level that the
    backbone cannot tell apart would take every label for ever; docs/log.md.) Measured on up to
    1,000 candidates, evenly spaced; 0 with too few labels for an ensemble.
    """
    members = candidates.member_probs.get(level, ())
    size = len(candidates.ids)
    if not members or not size:
        return 0.0
    some = np.linspace(0, size - 1, min(SAMPLE, size)).astype(np.intp)
    named = np.stack([member[some].argmax(axis=1) for member in members])
    return float((named == named[0]).all(axis=0).mean())


def _normalised(weights: Mapping[str, float], known: list[str]) -> dict[str, float]:
    for name, weight in weights.items():
        if name not in known:
            raise SamplerError(
                f"no level {name!r} to sample by; known: {', '.join(known)}, {FINEST} or {AUTO}"
            )
        if not weight >= 0:
            raise SamplerError(f"the weight of level {name!r} is {weight}; give 0 or more")
    total = sum(weights.values())
    if not total > 0:
        raise SamplerError("all level weights are 0; give one a positive weight")
    return {name: weights[name] / total for name in known if weights.get(name, 0) > 0}
