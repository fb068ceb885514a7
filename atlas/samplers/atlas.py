"""ATLAS: one batch over many kinds of mistakes, without a label in between."""

import numpy as np
from numpy.typing import NDArray

from atlas.errors import SamplerError
from atlas.samplers import batch_of, check_size, top_n
from atlas.samplers._fallback import StandIn
from atlas.samplers._levels import Level, focus_level
from atlas.samplers._right_wrong import Lessons, lessons, why
from atlas.types import Batch, Candidates


class Atlas:
    """Active transfer learning for adaptive sampling (Munro 2021, chapter 5).

    In steps: train the right/wrong head of `atl_uncertainty`; take the images it calls wrong;
    assume that once labelled the model will be right there, and add them to the lessons as right.
    So the head turns to other mistakes. One step is `atl_uncertainty`.

    The batch is in the order of the picks. The score, in [0, 1], is P(wrong) when the image was
    picked, or the least of those before where that is less: a later head may think worse of an
    image than an earlier one, but what was picked first is asked first. The reason tells P(wrong).

    Each step reads the bottlenecks once: the time grows with `steps`, the memory does not.

    Args:
        level: see `focus_level`.
        steps: 1 or more; a batch smaller than this takes one image a step.
        fallback: see `atl_uncertainty`.

    Raises:
        SamplerError: fewer than 1 step.
    """

    needs_model = True

    def __init__(self, level: Level = "auto", steps: int = 10, fallback: str = "margin") -> None:
        if steps < 1:
            raise SamplerError(f"steps is {steps}; give 1 or more")
        self.level = level
        self.steps = steps
        self.stand_in = StandIn(fallback, level)

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        level = focus_level(candidates, self.level)
        learned = lessons(candidates, level)
        if isinstance(learned, str):
            return self.stand_in.select(candidates, learned, n=n, rng=rng)
        sizes = [len(part) for part in np.array_split(np.arange(n), min(self.steps, n))]
        chosen, chances = _picks(candidates, learned, sizes, rng)
        reasons = why(candidates, level, chosen, chances)
        return batch_of(candidates, chosen, np.minimum.accumulate(chances), reasons)


def _picks(
    candidates: Candidates, learned: Lessons, sizes: list[int], rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positions and P(wrong) when picked, in the order of the picks; `sizes` of them a step."""
    chosen: list[NDArray[np.intp]] = []
    chances: list[NDArray[np.float64]] = []
    head = None
    for size in sizes:
        head = learned.train(start=head)
        chance = learned.chance_wrong(candidates.bottlenecks, head)
        for picks in chosen:
            chance[picks] = -1.0  # below every candidate that is left
        chosen.append(top_n(chance, candidates.ids, n=size, rng=rng))
        chances.append(chance[chosen[-1]])
        learned = learned.and_right(candidates.bottlenecks[chosen[-1]])
    return np.concatenate(chosen), np.concatenate(chances)


SAMPLER = Atlas
