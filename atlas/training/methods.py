"""Images with a label for some tasks only: two ways to make batches of them.

Method one takes any images and masks what they have no label for. Method two takes images of one
task, drawn anew each step, and corrects for how often it is drawn. Both have the same expectation.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.balancers import Balancer, total
from atlas.heads import Head
from atlas.losses import Targets


class MethodOne:
    """Batches of images drawn from all; all of them where they fit into one batch.

    Args:
        head: in training.
        x: standardised (N, D).
        targets: N labels.
        batch_size: images a step.
        rng: draws them.
    """

    def __init__(
        self, head: Head, x: Tensor, targets: Targets, batch_size: int, rng: np.random.Generator
    ) -> None:
        self._head = head
        self._x = x
        self._targets = targets
        self._batch_size = batch_size
        self._rng = rng

    def losses_at(self, step: int) -> dict[str, Tensor]:
        """See `steps.run_steps`."""
        if len(self._x) <= self._batch_size:
            return self._head.losses(self._x, self._targets)
        rows = _draw(torch.arange(len(self._x)), self._batch_size, self._rng)
        return self._head.losses(self._x[rows], self._targets[rows])


class MethodTwo:
    """Batches of one task, drawn with a chance in proportion to its labels.

    Args: as of `MethodOne`.

    Attributes:
        chance: task → (0, 1], how likely a step is its.
    """

    def __init__(
        self, head: Head, x: Tensor, targets: Targets, batch_size: int, rng: np.random.Generator
    ) -> None:
        self._head = head
        self._x = x
        self._targets = targets
        self._batch_size = batch_size
        self._rng = rng
        self._present = head.present(targets)
        self._rows = {task: targets.labelled(task).nonzero()[:, 0] for task in self._present}
        labels = sum(len(rows) for rows in self._rows.values())
        self.chance = {task: len(rows) / labels for task, rows in self._rows.items()}
        self._drawn = ""

    def losses_at(self, step: int) -> dict[str, Tensor]:
        """See `steps.run_steps`."""
        return self.losses_of(str(self._rng.choice(self._present, p=list(self.chance.values()))))

    def losses_of(self, task: str) -> dict[str, Tensor]:
        """The loss of one task, now the one drawn last, on images that have a label for it."""
        self._drawn = task
        rows = self._rows[task]
        if len(rows) > self._batch_size:
            rows = _draw(rows, self._batch_size, self._rng)
        return {task: self._head.losses(self._x[rows], self._targets[rows])[task]}

    def rest_of_penalty(self, step: int) -> Tensor:
        """What the penalty of the task drawn last leaves out of that of all tasks, ()."""
        return self._head.penalty(self._present) - self._head.penalty((self._drawn,))


class Corrected(Balancer):
    """Another balancer whose part for a task is divided by the chance that a step is that task's.

    Args:
        inner: balances.
        chance: task → (0, 1].
    """

    def __init__(self, inner: Balancer, chance: Mapping[str, float]) -> None:
        super().__init__(inner.tasks)
        self.inner = inner
        self._chance = dict(chance)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """See `Balancer`."""
        parts = {task: self.inner({task: loss}) for task, loss in losses.items()}
        return total([part / self._chance[task] for task, part in parts.items()])

    def before_step(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> None:
        """See `Balancer`."""
        self.inner.before_step(losses, shared)

    def weights(self) -> dict[str, float]:
        """See `Balancer`."""
        return self.inner.weights()


def _draw(rows: Tensor, n: int, rng: np.random.Generator) -> Tensor:
    return rows[torch.from_numpy(rng.choice(len(rows), n, replace=False))]
