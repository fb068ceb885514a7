"""One softmax over the leaves, summed up the tree; a label at any node trains it."""

import torch
from torch import Tensor, nn

from atlas.heads import Head
from atlas.heads._layers import ByTask
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

    def scores(self, x: Tensor) -> dict[str, Tensor]:
        """See `Head`; the levels are left out."""
        return {name: layer(x) for name, layer in self.extra.items()}

    def leaf_scores(self, x: Tensor) -> Tensor:
        """See `Head`."""
        result: Tensor = self.leaves(x)
        return result

    def losses(self, x: Tensor, targets: Targets) -> dict[str, Tensor]:
        """See `Head`; all levels have one loss together, under the name `label`."""
        present = self.present(targets)
        losses = {LABEL: tree_loss(self.leaf_scores(x), targets)} if LABEL in present else {}
        for task, scores in self.scores(x).items():
            if task in present:
                losses[task] = self._loss(task, scores, targets)
        return losses

    def present(self, targets: Targets) -> tuple[str, ...]:
        """See `Head`; `label` where any row has a node."""
        beside = tuple(task for task in super().present(targets) if task in self.extra)
        return ((LABEL,) if bool(targets.under.any()) else ()) + beside


HEAD = Tree
