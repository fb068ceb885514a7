"""Per-level heads over one shared trunk, reconciled along the taxonomy."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.heads import Head
from atlas.losses import Targets, masked_cross_entropy
from atlas.taxonomy import Taxonomy


class SharedTrunk(Head):
    """A hidden layer that all tasks share, and a linear head a task.

    Each level has its own softmax and its own loss. A leaf's score is the sum of the log-probs of
    the leaf and of its ancestors, renormalised over the leaves, so that predictions nest.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty.
        width: size of the hidden layer.
        seed: of the trunk's initial weights.
    """

    max_iterations = 25

    def __init__(
        self, features: int, taxonomy: Taxonomy, *, l2: float = 0.02, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        self.trunk = nn.Linear(features, width)
        self.tasks = nn.ModuleDict(
            {task: nn.Linear(width, len(known)) for task, known in taxonomy.tasks.items()}
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                bound = parameter.shape[-1] ** -0.5 if name.endswith("weight") else 0.0
                parameter.uniform_(-bound, bound, generator=generator)

    def leaf_scores(self, x: Tensor) -> Tensor:
        """See `Head`."""
        scores = self._scores(x)
        levels = [
            F.log_softmax(scores[level], dim=1)[:, index]
            for level, index in self._leaf_to_class.items()
        ]
        return torch.stack(levels).sum(dim=0)

    def extra_scores(self, x: Tensor) -> dict[str, Tensor]:
        """See `Head`."""
        scores = self._scores(x)
        return {attribute: scores[attribute] for attribute in self.taxonomy.attributes}

    def loss(self, x: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy a task, summed; a level that a label does not reach adds nothing."""
        losses = [
            masked_cross_entropy(scores, targets.classes[task])
            for task, scores in self._scores(x).items()
        ]
        return torch.stack(losses).sum()

    def _scores(self, x: Tensor) -> dict[str, Tensor]:
        hidden = F.gelu(self.trunk(x))
        return {task: layer(hidden) for task, layer in self.tasks.items()}


HEAD = SharedTrunk
