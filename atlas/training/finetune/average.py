"""The moving average of everything that a fine-tune changes."""

from copy import deepcopy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from atlas.training.finetune.learner import Learner


class MovingAverage:
    """A copy of a learner whose numbers are averages over its steps.

    After step t it keeps min(decay, 1 − t^(−2/3)) of itself, as timm's `ModelEmaV3` with warm-up.
    Here the tensors are looked up once: to do so in each step takes longer than to average them.

    Args:
        learner: averaged; its tensors have to stay where they are in memory.
        decay: see above, [0, 1).

    Attributes:
        module: the copy.
    """

    def __init__(self, learner: Learner, decay: float) -> None:
        self.module = deepcopy(learner).eval()
        self._decay = decay
        mine, theirs = self.module.state_dict().values(), learner.state_dict().values()
        pairs = list(zip(mine, theirs, strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the learner as it is after step `step`, from 1; counts and flags are copied."""
        keep = min(self._decay, 1 - step ** (-2 / 3))
        mine, theirs = (list(tensors) for tensors in zip(*self._floats, strict=True))
        get_ema_multi_avg_fn(keep)(mine, theirs, step)  # type: ignore[no-untyped-call]
        for own, other in self._others:
            own.copy_(other)
