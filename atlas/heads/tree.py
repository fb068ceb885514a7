"""One softmax over the leaves, summed up the tree; a label at any node trains it."""

from collections.abc import Collection, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from atlas.heads import Head
from atlas.heads._layers import ByTask, ridge
from atlas.losses import Targets, tree_loss
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL


class Tree(Head):
    """A linear map to leaf scores, one to each attribute and quantity: convex, one best fit.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty; 0.2 was best or near it from 100 to 2,000 labels (docs/log.md).
    """

    own = "extra"

    def __init__(self, features: int, taxonomy: Taxonomy, *, l2: float = 0.2) -> None:
        super().__init__(features, taxonomy, l2=l2)
        self.leaves = nn.Linear(features, len(taxonomy.leaves))
        beside = (*taxonomy.attributes, *taxonomy.quantities)
        self.extra = ByTask({name: nn.Linear(features, taxonomy.outputs[name]) for name in beside})
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()

    def alone(self, task: str) -> str:
        """See `Head`; the leaves are of all levels together, so no label with a node, no leaves."""
        return "leaves." if task == LABEL else super().alone(task)

    def solve(
        self, x: Tensor, targets: Targets, task_weights: Mapping[str, float]
    ) -> Sequence[nn.Parameter]:
        """See `Head`: ridge regression of each quantity.

        A quantity bends far more than a softmax: L-BFGS takes twice as many steps over both.
        """
        solved: list[nn.Parameter] = []
        for i, name in enumerate(self.taxonomy.quantities):
            wanted = (targets.numbers[name] - self.number_mean[i]) / self.number_std[i]
            known = ~torch.isnan(wanted)
            if not (self.l2 and bool(known.any())):
                continue
            layer = cast(nn.Linear, self.extra[name])
            weight, bias = ridge(x[known], wanted[known], self.l2 / task_weights[name])
            with torch.no_grad():
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
            solved += layer.parameters()
        return solved

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """See `Head`; the levels are left out."""
        return {name: layer(x) for name, layer in self.own_layers(tasks).items()}

    def leaf_scores(self, x: Tensor) -> Tensor:
        """See `Head`."""
        result: Tensor = self.leaves(x)
        return result

    def losses(self, x: Tensor, targets: Targets) -> dict[str, Tensor]:
        """See `Head`; all levels have one loss together, under the name `label`."""
        present = self.present(targets)
        losses = {LABEL: tree_loss(self.leaf_scores(x), targets)} if LABEL in present else {}
        for task, scores in self.scores(x, present).items():
            losses[task] = self._loss(task, scores, targets)
        return losses

    def present(self, targets: Targets) -> tuple[str, ...]:
        """See `Head`; `label` where any row has a node."""
        beside = tuple(task for task in super().present(targets) if task in self.extra)
        return ((LABEL,) if bool(targets.under.any()) else ()) + beside


HEAD = Tree
