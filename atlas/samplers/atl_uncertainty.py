"""Active transfer learning: prefer images where the model errs, judged by its earlier mistakes."""

import numpy as np

from atlas.samplers import by_score, check_size
from atlas.samplers._fallback import StandIn
from atlas.samplers._levels import Level, focus_level
from atlas.samplers._right_wrong import lessons, why
from atlas.types import Batch, Candidates


class AtlUncertainty:
    """Score P(wrong) in [0, 1], by a new linear head on the bottlenecks.

    Munro, Human-in-the-Loop Machine Learning, 2021, chapter 5. The head learns right from wrong on
    the out-of-fold predictions of the labelled images, which were made by heads that never saw
    them. A high score is a probable mistake (the book's code sorts the other way round).

    Args:
        level: see `focus_level`.
        fallback: the sampler that stands in while there is no mistake, no right prediction or no
            out-of-fold prediction to learn from.
    """

    needs_model = True

    def __init__(self, level: Level = "auto", fallback: str = "margin") -> None:
        self.level = level
        self.stand_in = StandIn(fallback, level)

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        level = focus_level(candidates, self.level)
        learned = lessons(candidates, level)
        if isinstance(learned, str):
            return self.stand_in.select(candidates, learned, n=n, rng=rng)
        chance = learned.chance_wrong(candidates.bottlenecks, learned.train())
        return by_score(
            candidates,
            chance,
            lambda chosen: why(candidates, level, chosen, chance[chosen]),
            n=n,
            rng=rng,
        )


SAMPLER = AtlUncertainty
