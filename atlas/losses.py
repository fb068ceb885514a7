"""Masked losses: a label may be missing for a task, or stop half-way up the taxonomy.

The tree loss of a label at any node v is −log P(v) = LSE(all leaves) − LSE(leaves under v), in
log space throughout, so a tiny probability gives a large finite loss and never zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

MISSING = -1


@dataclass(frozen=True)
class Targets:
    """Labels as tensors.

    Attributes:
        under: (N, n_leaves) bool, the leaves at or under the labelled node; all False = no label.
        classes: task → (N,) int64 class index, `MISSING` where the label does not say.
        numbers: quantity → (N,) float32 in its own unit, NaN where the label does not say.
    """

    under: Tensor
    classes: dict[str, Tensor]
    numbers: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def leaves(self) -> Tensor | None:
        """(N,) int64 leaf index, `MISSING` without a label; None where one stops above a leaf."""
        under = self.under.sum(dim=1)
        if bool((under > 1).any()):
            return None
        return torch.where(under == 1, self.under.int().argmax(dim=1), MISSING)

    def labelled(self, task: str) -> Tensor:
        """(N,) bool: which rows speak of a task; of `LABEL`, those with a node."""
        if task == LABEL:
            return self.under.any(dim=1)
        if task in self.numbers:
            return ~torch.isnan(self.numbers[task])
        return self.classes[task] != MISSING

    def __getitem__(self, rows: Tensor) -> "Targets":
        return Targets(
            self.under[rows],
            {task: t[rows] for task, t in self.classes.items()},
            {task: t[rows] for task, t in self.numbers.items()},
        )

    def __len__(self) -> int:
        return len(self.under)


def encode(labels: Sequence[Mapping[str, str]], taxonomy: Taxonomy) -> Targets:
    """Labels (task → value; `LABEL` holds a node's path) as `Targets`.

    Raises:
        TaxonomyError: a label that is not in the taxonomy.
    """
    # many images share few labels: each is looked up once
    kinds: dict[tuple[tuple[str, str], ...], int] = {}
    of_row = np.array(
        [kinds.setdefault(tuple(values.items()), len(kinds)) for values in labels], dtype=np.intp
    )
    under = np.zeros((len(kinds), len(taxonomy.leaves)), dtype=bool)
    classes = {task: np.full(len(kinds), MISSING, dtype=np.int64) for task in taxonomy.tasks}
    numbers = {task: np.full(len(kinds), np.nan, np.float32) for task in taxonomy.quantities}
    index = {task: {c: i for i, c in enumerate(known)} for task, known in taxonomy.tasks.items()}
    for row, kind in enumerate(kinds):
        for task, value in _at_tasks(dict(kind), taxonomy).items():
            if task in numbers:
                numbers[task][row] = float(value)
            else:
                classes[task][row] = index[task][value]
        node = dict(kind).get(LABEL)
        if node is not None:
            under[row] = taxonomy.under[node]
    return Targets(
        torch.from_numpy(under[of_row]),
        {task: torch.from_numpy(column[of_row]) for task, column in classes.items()},
        {task: torch.from_numpy(column[of_row]) for task, column in numbers.items()},
    )


def _at_tasks(values: Mapping[str, str], taxonomy: Taxonomy) -> dict[str, str]:
    """Task → value, for every level, attribute and quantity that a label speaks of."""
    known = {LABEL, *taxonomy.attributes, *taxonomy.quantities}
    mine = {task: value for task, value in values.items() if task in known}
    taxonomy.check(mine)
    node = mine.pop(LABEL, None)
    levels = {} if node is None else {one: taxonomy.at_level(node, one) for one in taxonomy.levels}
    return mine | {level: found for level, found in levels.items() if found is not None}


def tree_loss(leaf_scores: Tensor, targets: Targets) -> Tensor:
    """`node_loss` of (N, n_leaves) scores; by the faster cross-entropy where all labels are leaves.

    The two are equal: with one leaf under the node the sum under it is that leaf.
    """
    if targets.leaves is None:
        return node_loss(leaf_scores, targets.under)
    return masked_cross_entropy(leaf_scores, targets.leaves)


def node_loss(leaf_scores: Tensor, under: Tensor) -> Tensor:
    """Mean −log P(labelled node) over the rows that have a label; 0 where none has.

    Args:
        leaf_scores: (N, n_leaves) unnormalised log-probabilities.
        under: (N, n_leaves) bool.
    """
    labelled = under.any(dim=1)
    if not bool(labelled.any()):
        return leaf_scores.new_zeros(())
    scores, mask = leaf_scores[labelled], under[labelled]
    inside = scores.masked_fill(~mask, -torch.inf).logsumexp(dim=1)
    return (scores.logsumexp(dim=1) - inside).mean()


def masked_cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over the rows whose target is not `MISSING`; 0 where none is.

    Args:
        scores: (N, K) logits.
        target: (N,) int64.
    """
    if not bool((target != MISSING).any()):
        return scores.new_zeros(())
    return F.cross_entropy(scores, target, ignore_index=MISSING)


def masked_squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of half the squared error over the rows whose target is not NaN; 0 where none is.

    Args:
        predicted: (N,).
        target: (N,), in the same unit.
    """
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return predicted.new_zeros(())
    return (predicted[known] - target[known]).square().mean() / 2


def sum_up_the_tree(leaf_log_probs: Tensor, leaf_to_class: Tensor, classes: int) -> Tensor:
    """(N, n_leaves) log-probabilities → (N, classes): log-sum-exp over each class's leaves.

    Args:
        leaf_log_probs: log-probabilities, finite.
        leaf_to_class: (n_leaves,) int64, every class at least once.
        classes: number of classes.
    """
    rows = len(leaf_log_probs)
    index = leaf_to_class.expand(rows, -1)
    highest = leaf_log_probs.new_full((rows, classes), -torch.inf)
    highest = highest.scatter_reduce(1, index, leaf_log_probs.detach(), "amax")
    shifted = (leaf_log_probs - highest.gather(1, index)).exp()
    total = leaf_log_probs.new_zeros((rows, classes)).scatter_add(1, index, shifted)
    return highest + total.log()
