"""Samplers as settings name them: "margin", or a chain such as "margin*10 | kmeans"."""

from collections.abc import Mapping
from dataclasses import replace
import re
from typing import Any

import numpy as np

from atlas import plugins
from atlas.errors import SamplerError
from atlas.samplers import Sampler, check_size
from atlas.samplers._levels import Level
from atlas.types import Batch, Candidates

PACKAGE = "atlas.samplers"
_STAGE = re.compile(r"([\w.:]+)(?:\s*\*\s*(\d+))?")


class Composition:
    """Each stage chooses from what the one before it took; the last takes the batch.

    A stage with the factor f takes f·n images, or all there are. Scores are the last stage's;
    reasons are of both ends.

    Args:
        stages: (sampler, factor) in order, the last factor 1.
    """

    def __init__(self, stages: list[tuple[Sampler, int]]) -> None:
        self.stages = stages
        self.needs_model = any(sampler.needs_model for sampler, _ in stages)

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        first: dict[str, str] = {}
        left = candidates
        for number, (sampler, factor) in enumerate(self.stages):
            batch = sampler.select(left, n=min(factor * n, len(left.ids)), rng=rng)
            if number == 0:
                first = dict(zip(batch.ids, batch.reasons, strict=True))
            if number < len(self.stages) - 1:
                left = candidates.subset(np.sort(candidates.positions(batch.ids)))
        reasons = (f"{first[i]}; {last}" for i, last in zip(batch.ids, batch.reasons, strict=True))
        return replace(batch, reasons=tuple(reasons))


def build_sampler(spec: str, arguments: Mapping[str, Any] | None = None) -> Sampler:
    """The sampler that `spec` names: one, or stages "name*factor | … | name".

    Args:
        spec: "margin", "margin*10 | kmeans".
        arguments: for a single sampler its own; a chain takes `level` alone, for the stages that
            have one.

    Raises:
        PluginError: an unknown sampler or argument.
        SamplerError: a spec that cannot be read.
    """
    given = dict(arguments or {})
    parts = [part.strip() for part in spec.split("|")]
    if len(parts) == 1 and "*" not in spec:
        single: Sampler = plugins.build(PACKAGE, spec.strip(), given)
        return single
    stages = [_stage(part, spec, given) for part in parts]
    if len(stages) == 1 or stages[-1][1] != 1 or any(factor < 1 for _, factor in stages):
        raise SamplerError(
            f"the sampler {spec!r} is not a chain; every stage but the last takes a multiple of "
            "the batch, as in 'margin*10 | kmeans'"
        )
    return Composition(stages)


def takes_level(spec: str) -> bool:
    """Whether a sampler asks about a level; a chain hands it to the stages that do."""
    return "|" in spec or plugins.takes(PACKAGE, spec.strip(), "level")


def build_at(spec: str, level: Level) -> Sampler:
    """The sampler of `spec` at a level, if it asks about one."""
    return build_sampler(spec, {"level": level} if takes_level(spec) else {})


def _stage(part: str, spec: str, arguments: Mapping[str, Any]) -> tuple[Sampler, int]:
    found = _STAGE.fullmatch(part)
    if found is None:
        raise SamplerError(f"cannot read {part!r} in the sampler {spec!r}; write 'margin*10'")
    unknown = sorted(set(arguments) - {"level"})
    if unknown:
        raise SamplerError(f"a chain of samplers takes level alone, not {', '.join(unknown)}")
    name = found[1]
    own = {key: value for key, value in arguments.items() if plugins.takes(PACKAGE, name, key)}
    sampler: Sampler = plugins.build(PACKAGE, name, own)
    return sampler, int(found[2] or 1)
