"""Balancers: the losses of several tasks → one. One file each; the file's name is its name.

A task without a label in a batch is not among the losses: it adds nothing and its weight stays.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from atlas import plugins
from atlas.errors import SettingsError
from atlas.heads import Head


class Balancer(nn.Module):
    """Base of the balancers. A subclass gives `forward` and `weights`.

    Parameters of a balancer that get a gradient from `forward` are learned together with the head.

    Attributes:
        tasks: T names, those that the head has a loss for.
        needs_steps: weights move between steps, so that L-BFGS, which wants one function, cannot.
        needs_all_tasks: it compares the tasks of one batch; batches of one task are no use to it.
        needs_shared: it looks at a layer that all tasks use.
    """

    needs_steps = False
    needs_all_tasks = False
    needs_shared = False

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.tasks = tasks

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Task → loss, () each → the weighted total, (); 0 without any."""
        raise NotImplementedError

    def before_step(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> None:
        """Move the weights before the head takes its step; nothing here.

        Args:
            losses: task → loss, (), whose graph is kept.
            shared: the weights of the last layer that every task uses, see `Head.shared`.
        """

    def weights(self) -> dict[str, float]:
        """Task → what its loss is multiplied by now, above 0."""
        raise NotImplementedError

    def check(self, head: Head) -> None:
        """Raise `SettingsError` where this balancer cannot work with the head."""
        if not self.needs_shared or head.shared():
            return
        able = [
            name
            for name in plugins.available("atlas.heads")
            if plugins.load("atlas.heads", name).shared is not Head.shared
        ]
        raise SettingsError(
            f"the balancer {_name(self)} compares the tasks at a layer that all of them use, and "
            f"the head {_name(head)} has none; heads with one: {', '.join(able)}"
        )


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors (), 0 where there are none."""
    return torch.stack(list(parts)).sum() if parts else torch.zeros(())


def _name(plugin: nn.Module) -> str:
    return type(plugin).__module__.rpartition(".")[2]
