"""Heads: bottleneck → scores of every task. One file per architecture; the file's name is its name.

What all heads share: bottlenecks are standardised first, the taxonomy is predicted by one score a
leaf, and every level is the sum of its leaves, so that children always sum to their parent.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.losses import Targets, masked_cross_entropy, sum_up_the_tree, tree_loss
from atlas.taxonomy import Taxonomy


class Head(nn.Module):
    """Base of the heads. A subclass sets up its layers and gives `leaf_scores` and `extra_scores`.

    Attributes:
        features: D.
        taxonomy: what is predicted.
        l2: strength of the penalty on weights (biases are free).
        max_iterations: of L-BFGS; fewer stop early, which a head with hidden layers wants.
    """

    max_iterations = 100

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, features: int, taxonomy: Taxonomy, *, l2: float) -> None:
        super().__init__()
        self.features = features
        self.taxonomy = taxonomy
        self.l2 = l2
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("temperature", torch.ones(()))
        self._leaf_to_class = {
            level: torch.from_numpy(index) for level, index in taxonomy.leaf_to_class.items()
        }

    def leaf_scores(self, x: Tensor) -> Tensor:
        """Standardised (N, D) → (N, n_leaves) unnormalised log-probabilities."""
        raise NotImplementedError

    def extra_scores(self, x: Tensor) -> dict[str, Tensor]:
        """Standardised (N, D) → attribute → (N, K) logits."""
        raise NotImplementedError

    def loss(self, x: Tensor, targets: Targets) -> Tensor:
        """The mean loss of each task, summed over tasks; tasks without a label add nothing."""
        total = tree_loss(self.leaf_scores(x), targets)
        for attribute, scores in self.extra_scores(x).items():
            total = total + masked_cross_entropy(scores, targets.classes[attribute])
        return total

    def penalty(self) -> Tensor:
        """l2/2 times the squared norm of all weight matrices."""
        weights = [p for name, p in self.named_parameters() if name.endswith("weight")]
        return torch.stack([weight.square().sum() for weight in weights]).sum() * self.l2 / 2

    def standardise(self, bottlenecks: Tensor) -> Tensor:
        """(N, D) float → zero mean and unit spread over the pool."""
        return (bottlenecks - self.mean) / self.std

    def forward(self, bottlenecks: Tensor) -> dict[str, Tensor]:
        """(N, D) float32 → task → (N, K) calibrated log-probabilities; levels are coherent."""
        x = self.standardise(bottlenecks)
        leaf_scores = self.leaf_scores(x) / self.temperature
        result = {level: self.level_scores(leaf_scores, level) for level in self.taxonomy.levels}
        for attribute, scores in self.extra_scores(x).items():
            result[attribute] = F.log_softmax(scores, dim=1)
        return result

    def level_scores(self, leaf_scores: Tensor, level: str) -> Tensor:
        """(N, n_leaves) unnormalised leaf scores → (N, K) log-probabilities at a level."""
        leaves = F.log_softmax(leaf_scores, dim=1)
        return sum_up_the_tree(
            leaves, self._leaf_to_class[level], len(self.taxonomy.classes[level])
        )
