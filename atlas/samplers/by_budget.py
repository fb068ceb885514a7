"""By budget: typical images while labels are few, doubtful ones after."""

from dataclasses import replace

import numpy as np

from atlas.errors import SamplerError
from atlas.samplers import check_size
from atlas.samplers._composition import build_at
from atlas.samplers._levels import Level
from atlas.types import Batch, Candidates

TAKES = {  # what the two of the default look for, for people who know no sampler by its name
    "max_herding": "images that stand for many others",
    "badge": "images that the model doubts",
}


class ByBudget:
    """One sampler up to so many labels a class, another from there on.

    With few labels images that stand for many teach most, with many those that the model doubts
    (Hacohen & Weinshall 2023, 2306.03543); the curves in docs/benchmarks cross there too.

    Args:
        level: see `level_weights`; handed to the samplers that take one.
        labels_per_class: labels a class of the finest level at which the second takes over.
        early: the first sampler, or a chain.
        late: the second one.
    """

    needs_model = True

    def __init__(
        self,
        level: Level = "auto",
        labels_per_class: int = 30,
        early: str = "max_herding",
        late: str = "badge",
    ) -> None:
        if labels_per_class < 1:
            raise SamplerError(f"labels_per_class is {labels_per_class}; give 1 or more")
        self.labels_per_class = labels_per_class
        self.names = (early, late)
        self.samplers = tuple(build_at(name, level) for name in self.names)

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        finest = list(candidates.classes)[-1]
        enough = self.labels_per_class * len(candidates.classes[finest])
        phase = int(len(candidates.labelled) >= enough)
        batch = self.samplers[phase].select(candidates, n=n, rng=rng)
        when = f"from {enough} labels on" if phase else f"under {enough} labels"
        name = self.names[phase]
        note = f"{when} it takes {TAKES.get(name, 'what is chosen')} (by {name})"
        return replace(batch, note="; ".join(part for part in (note, batch.note) if part))


SAMPLER = ByBudget
