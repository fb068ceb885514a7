"""One softmax over the leaves, summed up the tree; a label at any node trains it."""

import torch
from torch import Tensor, nn

from atlas.heads import Head
from atlas.taxonomy import Taxonomy


class Tree(Head):
    """A linear map to leaf scores (and one to each attribute): convex, so the fit is unique.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty; 0.2 was best or near it from 100 to 2,000 labels (docs/log.md).
    """

    def __init__(self, features: int, taxonomy: Taxonomy, *, l2: float = 0.2) -> None:
        super().__init__(features, taxonomy, l2=l2)
        self.leaves = nn.Linear(features, len(taxonomy.leaves))
        self.extra = nn.ModuleDict(
            {name: nn.Linear(features, len(known)) for name, known in taxonomy.attributes.items()}
        )
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()

    def leaf_scores(self, x: Tensor) -> Tensor:
        """See `Head`."""
        result: Tensor = self.leaves(x)
        return result

    def extra_scores(self, x: Tensor) -> dict[str, Tensor]:
        """See `Head`."""
        return {name: layer(x) for name, layer in self.extra.items()}


HEAD = Tree
