"""Heads: bottleneck → scores of every task. One file per architecture; the file's name is its name.

What all heads share: bottlenecks are standardised first, the taxonomy is predicted by one score a
leaf, and every level is the sum of its leaves, so that children always sum to their parent.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.losses import Targets, masked_cross_entropy, masked_squared_error, sum_up_the_tree
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL


class Head(nn.Module):
    """Base of the heads. A subclass sets up its layers and gives `scores` and `leaf_scores`.

    A layer that belongs to one task alone lies in a `ModuleDict` under that task's name, and the
    attribute `own` says how the `ModuleDict` is called: so a task without a label is left alone.

    Attributes:
        features: D.
        taxonomy: what is predicted.
        l2: strength of the penalty on weights (biases are free).
        max_iterations: of L-BFGS; fewer stop early, which a head with hidden layers wants.
        rounds: how often the head is optimised, with `between_rounds` in between.
        own: name of the `ModuleDict` that holds the layers of single tasks.
    """

    max_iterations = 100
    rounds = 1
    own = "tasks"

    mean: Tensor
    std: Tensor
    temperature: Tensor
    number_mean: Tensor
    number_std: Tensor

    def __init__(self, features: int, taxonomy: Taxonomy, *, l2: float) -> None:
        super().__init__()
        self.features = features
        self.taxonomy = taxonomy
        self.l2 = l2
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("temperature", torch.ones(()))
        if taxonomy.quantities:  # bundles without quantities stay as they were
            self.register_buffer("number_mean", torch.zeros(len(taxonomy.quantities)))
            self.register_buffer("number_std", torch.ones(len(taxonomy.quantities)))
        self._leaf_to_class = {
            level: torch.from_numpy(index) for level, index in taxonomy.leaf_to_class.items()
        }

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """Standardised (N, D) → what each task's own layer gives.

        (N, K) logits of a level or attribute, (N, 1) of a quantity in standard units. A head whose
        levels all come from one softmax leaves the levels out.

        Args:
            x: standardised (N, D).
            tasks: those wanted; the norms of others do not take these rows in. All where None.
        """
        raise NotImplementedError

    def leaf_scores(self, x: Tensor) -> Tensor:
        """Standardised (N, D) → (N, n_leaves) unnormalised log-probabilities.

        Here from the levels' own logits: the sum of the log-probabilities of the leaf and of its
        ancestors; renormalised over the leaves by whoever uses it, so that predictions nest.
        """
        return self.reconciled(self.scores(x))

    def reconciled(self, scores: dict[str, Tensor]) -> Tensor:
        """Each level's own logits → (N, n_leaves) unnormalised log-probabilities."""
        levels = [
            F.log_softmax(scores[level], dim=1)[:, index]
            for level, index in self._leaf_to_class.items()
        ]
        return torch.stack(levels).sum(dim=0)

    def losses(self, x: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Task → mean loss over its labelled rows, (); a task without a label is left out.

        Args:
            x: standardised (N, D).
            targets: N labels.
        """
        scores = self.scores(x, self.present(targets))
        return {task: self._loss(task, own, targets) for task, own in scores.items()}

    def present(self, targets: Targets) -> tuple[str, ...]:
        """The tasks with a loss of their own that some label speaks of."""
        tasks = self.taxonomy.outputs
        return tuple(task for task in tasks if bool(targets.labelled(task).any()))

    def penalty(self, tasks: Collection[str] | None = None) -> Tensor:
        """l2/2 times the squared norm of the weight matrices.

        Args:
            tasks: those with a label, as `present` names them; layers that belong to another task
                alone are left out. All where None.
        """
        absent = () if tasks is None else {LABEL, *self.taxonomy.outputs}.difference(tasks)
        alone = tuple(self.alone(task) for task in absent)
        weights = [
            parameter.square().sum()
            for name, parameter in self.named_parameters()
            if name.endswith("weight") and not name.startswith(alone)
        ]
        if not weights:
            return self.mean.new_zeros(())
        return torch.stack(weights).sum() * self.l2 / 2

    def alone(self, task: str) -> str:
        """What the names of the parameters begin with that a task has to itself.

        Args:
            task: with an output; or `label`, for a head whose levels all come from one softmax.
        """
        return f"{self.own}.{task}."

    def own_layers(self, tasks: Collection[str] | None) -> dict[str, nn.Module]:
        """Of the tasks that are wanted, in the order of the taxonomy; of all where None."""
        layers: nn.ModuleDict = getattr(self, self.own)
        return {task: own for task, own in layers.items() if tasks is None or task in tasks}

    def shared(self) -> tuple[Tensor, ...]:
        """The weights of the last layer that every task uses; empty where there is none."""
        return ()

    def solve(
        self, x: Tensor, targets: Targets, task_weights: Mapping[str, float]
    ) -> Sequence[nn.Parameter]:
        """Set the weights whose best values can be worked out; returns them. None here.

        Args:
            x: standardised (N, D), what it is trained on.
            targets: N labels.
            task_weights: task → what its loss is multiplied by.
        """
        return ()

    def between_rounds(self, x: Tensor, targets: Targets) -> None:
        """What a head changes in itself between two optimisations; nothing here.

        Args:
            x: standardised (N, D), what it is trained on.
            targets: N labels.
        """

    def standardise(self, bottlenecks: Tensor) -> Tensor:
        """(N, D) float → zero mean and unit spread over the pool."""
        return (bottlenecks - self.mean) / self.std

    def forward(self, bottlenecks: Tensor) -> dict[str, Tensor]:
        """(N, D) float32 → task → (N, K) calibrated log-probabilities; levels are coherent."""
        x = self.standardise(bottlenecks)
        leaf_scores = self.leaf_scores(x) / self.temperature
        result = {level: self.level_scores(leaf_scores, level) for level in self.taxonomy.levels}
        scores = self.scores(x) if self.taxonomy.attributes else {}
        for attribute in self.taxonomy.attributes:
            result[attribute] = F.log_softmax(scores[attribute], dim=1)
        return result

    def numbers(self, bottlenecks: Tensor) -> dict[str, Tensor]:
        """(N, D) float32 → quantity → (N,) in its own unit."""
        scores = self.scores(self.standardise(bottlenecks)) if self.taxonomy.quantities else {}
        return {
            name: scores[name][:, 0] * self.number_std[i] + self.number_mean[i]
            for i, name in enumerate(self.taxonomy.quantities)
        }

    def level_scores(self, leaf_scores: Tensor, level: str) -> Tensor:
        """(N, n_leaves) unnormalised leaf scores → (N, K) log-probabilities at a level."""
        leaves = F.log_softmax(leaf_scores, dim=1)
        return sum_up_the_tree(
            leaves, self._leaf_to_class[level], len(self.taxonomy.classes[level])
        )

    def _loss(self, task: str, scores: Tensor, targets: Targets) -> Tensor:
        if task not in self.taxonomy.quantities:
            return masked_cross_entropy(scores, targets.classes[task])
        i = self.taxonomy.quantities.index(task)
        wanted = (targets.numbers[task] - self.number_mean[i]) / self.number_std[i]
        return masked_squared_error(scores[:, 0], wanted)
