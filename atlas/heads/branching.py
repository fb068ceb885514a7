"""One thin trunk at first; tasks that find other images hard then get a branch of their own."""

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.heads import Head
from atlas.heads._layers import ByTask, seed_weights
from atlas.losses import MISSING, Targets
from atlas.taxonomy import Taxonomy

CHANCE = 0.5  # affinity of two tasks whose easy images have nothing to do with each other
PRICE = 0.15  # what a further branch must save in agreement


class Branching(Head):
    """A hidden layer for all, and on it a second one that splits into branches, a group each.

    Fully-adaptive feature sharing (Lu et al., 1611.05377). All tasks start on one branch. After
    the first optimisation they are grouped by affinity: how often the same images are easy, or
    hard, for both. Each group gets a copy of the branch, so that no output changes at the split,
    and the head is optimised once more. The paper splits layer by layer and starts from a large
    network; with one layer to split and no such network, neither applies here.

    Which task is on which branch is part of the state, so a saved head keeps it.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty.
        width: size of the hidden layers.
        seed: of the initial weights.
    """

    max_iterations = 15
    rounds = 2

    branch_of: Tensor

    def __init__(
        self, features: int, taxonomy: Taxonomy, *, l2: float = 0.02, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        number = len(taxonomy.outputs)
        self.trunk = nn.Linear(features, width)
        # as many as there may ever be, so that a saved state fits whatever its groups
        self.branches = nn.ModuleList(nn.Linear(width, width) for _ in range(number))
        self.tasks = ByTask(
            {task: nn.Linear(width, outputs) for task, outputs in taxonomy.outputs.items()}
        )
        self.register_buffer("branch_of", torch.zeros(number, dtype=torch.int64))
        seed_weights(self, seed)

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """See `Head`."""
        hidden = F.gelu(self.trunk(x))
        of_task = dict(zip(self.tasks, self.branch_of.tolist(), strict=True))
        layers = self.own_layers(tasks)
        used = sorted({of_task[task] for task in layers})
        found = {branch: F.gelu(self.branches[branch](hidden)) for branch in used}
        return {task: layer(found[of_task[task]]) for task, layer in layers.items()}

    def shared(self) -> tuple[Tensor, ...]:
        """See `Head`: the branch as long as all tasks are on one, then the trunk."""
        first, *others = set(self.branch_of.tolist())
        return (self.trunk.weight if others else cast(nn.Linear, self.branches[first]).weight,)

    def penalty(self, tasks: Collection[str] | None = None) -> Tensor:
        """See `Head`; branches that none of `tasks` is on are left out."""
        on = zip(self.tasks, self.branch_of.tolist(), strict=True)
        used = {branch for task, branch in on if tasks is None or task in tasks}
        weights = [self.trunk.weight, *(self.branches[branch].weight for branch in used)]
        weights += [
            layer.weight for task, layer in self.tasks.items() if tasks is None or task in tasks
        ]
        return torch.stack([weight.square().sum() for weight in weights]).sum() * self.l2 / 2

    def between_rounds(self, x: Tensor, targets: Targets) -> None:
        """See `Head`: groups the tasks that have labels, and splits, once; the others stay put."""
        if bool(self.branch_of.any()):
            return
        tasks = self.present(targets)
        groups = grouped(self.affinity(x, targets, tasks))
        names = list(self.tasks)
        branch_of = self.branch_of.clone()
        for task, group in zip(tasks, groups, strict=True):
            branch_of[names.index(task)] = group
        self.split(branch_of)

    def split(self, branch_of: Tensor) -> None:
        """Put tasks on other branches, which start as copies: every output stays as it was.

        Args:
            branch_of: (tasks,) int64, which branch each task is on from now on. Tasks that share
                one must have shared one before.
        """
        before = deepcopy(self.branches)
        for old, new in zip(self.branch_of.tolist(), branch_of.tolist(), strict=True):
            self.branches[new].load_state_dict(before[old].state_dict())
        self.branch_of.copy_(branch_of)

    def affinity(self, x: Tensor, targets: Targets, tasks: Sequence[str]) -> NDArray[np.float64]:
        """(tasks, tasks) in [0, 1]: the share of images that are easy for both or hard for both.

        An image is easy for a task where its loss is not above the task's median. Over the images
        with a label for both tasks; `CHANCE` where there is none.
        """
        with torch.no_grad():
            scores = self.scores(x)
            losses = [self._row_losses(task, scores[task], targets).numpy() for task in tasks]
        known = [~np.isnan(loss) for loss in losses]
        easy = [loss <= np.median(loss[k]) for loss, k in zip(losses, known, strict=True)]
        result = np.eye(len(tasks))
        for a in range(len(tasks)):
            for b in range(a):
                both = known[a] & known[b]
                agree = (easy[a] == easy[b])[both].mean() if both.any() else CHANCE
                result[a, b] = result[b, a] = agree
        return result

    def _row_losses(self, task: str, scores: Tensor, targets: Targets) -> Tensor:
        """(N,), NaN without a label."""
        if task in targets.numbers:
            i = self.taxonomy.quantities.index(task)
            wanted = (targets.numbers[task] - self.number_mean[i]) / self.number_std[i]
            return (scores[:, 0] - wanted).square()
        classes = targets.classes[task]
        losses = F.cross_entropy(scores, classes, ignore_index=MISSING, reduction="none")
        return losses.masked_fill(classes == MISSING, torch.nan)


def grouped(affinity: NDArray[np.float64]) -> list[int]:
    """Affinities (T, T) → the group of each task; groups are numbered by their first task.

    A group is as good as its members' worst affinity, so it is complete linkage that proposes one
    grouping for each number of groups. Of those the cheapest is taken. As in the paper, the cost
    is a price for each branch beyond the first, here `PRICE`, plus the mean over groups of
    1 − (mean over members of the lowest affinity to a member of the group).
    """
    tasks = len(affinity)
    if tasks < 2:
        return [0] * tasks
    tree = linkage(squareform(1 - affinity, checks=False), method="complete")
    proposals = [fcluster(tree, number, criterion="maxclust") for number in range(1, tasks + 1)]
    costs = [_cost(affinity, groups) for groups in proposals]
    order: dict[int, int] = {}
    return [order.setdefault(int(group), len(order)) for group in proposals[int(np.argmin(costs))]]


def _cost(affinity: NDArray[np.float64], groups: NDArray[np.int32]) -> float:
    apart = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        apart.append(1 - affinity[np.ix_(members, members)].min(axis=1).mean())
    return PRICE * (len(apart) - 1) + float(np.mean(apart))


HEAD = Branching
