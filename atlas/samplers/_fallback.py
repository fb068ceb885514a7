"""Another sampler stands in, and says so in the record of every query."""

from dataclasses import replace

import numpy as np

from atlas.samplers._composition import build_at
from atlas.samplers._levels import Level
from atlas.types import Batch, Candidates


class StandIn:
    """The sampler that chooses where another one cannot.

    Args:
        name: of a sampler.
        level: handed on to it, if it takes one.
    """

    def __init__(self, name: str, level: Level = "auto") -> None:
        self.name = name
        self.sampler = build_at(name, level)

    def select(
        self, candidates: Candidates, why: str, *, n: int, rng: np.random.Generator
    ) -> Batch:
        """The stand-in's batch; `why` goes into every reason and into the round's note."""
        batch = self.sampler.select(candidates, n=n, rng=rng)
        return replace(
            batch,
            reasons=tuple(f"{reason} ({self.name} chose: {why})" for reason in batch.reasons),
            note="; ".join(part for part in (f"{why}: {self.name} chose", batch.note) if part),
        )
