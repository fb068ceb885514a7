"""Layers that several heads are made of, and how their weights begin."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OWN_SHARE = 0.9  # what a task takes of its own column at first: best in both papers


class ByTask(nn.ModuleDict):
    """Task → its own layer. Any task name will do, also "type", which `ModuleDict` refuses."""

    def __setitem__(self, key: str, module: nn.Module) -> None:
        # the parent refuses names that modules have as attributes; layers are never read as those
        self._modules[key] = module


class Columns(nn.ModuleList):
    """One hidden layer for each of several columns.

    Each task has a column, yet columns are numbered: every task reads every column, and so trains
    it, also while the column's own task has no label.
    """

    def __init__(self, number: int, features: int, width: int) -> None:
        super().__init__(nn.Linear(features, width) for _ in range(number))

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """A (N, features) for each column → a (N, width) from each."""
        return [F.gelu(layer(x)) for layer, x in zip(self, inputs, strict=True)]

    def weights(self) -> tuple[Tensor, ...]:
        """The weight matrix of each column."""
        return tuple(cast(nn.Linear, layer).weight for layer in self)


def ridge(x: Tensor, y: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    """The (D,) weights and the bias where mean (x w + b - y)²/2 + l2/2 |w|² is least.

    Args:
        x: (N, D), N of 1 or more.
        y: (N,).
        l2: above 0.
    """
    middle_x, middle_y = x.double().mean(dim=0), y.double().mean()
    rows, wanted = x.double() - middle_x, y.double() - middle_y
    is_wide = len(rows) < x.shape[1]  # of two systems with the same solution the smaller one
    gram = rows @ rows.T if is_wide else rows.T @ rows
    gram.diagonal().add_(len(rows) * l2)
    if is_wide:
        weight = rows.T @ torch.linalg.solve(gram, wanted)
    else:
        weight = torch.linalg.solve(gram, rows.T @ wanted)
    return weight.float(), (middle_y - middle_x @ weight).float()


def shares(own: int, columns: int) -> Tensor:
    """(columns,) first shares: `OWN_SHARE` of its own, the rest in equal parts; they sum to 1."""
    if columns == 1:
        return torch.ones(1)
    result = torch.full((columns,), (1 - OWN_SHARE) / (columns - 1))
    result[own] = OWN_SHARE
    return result


def seed_weights(head: nn.Module, seed: int) -> None:
    """Draw the weights of every linear layer within ± 1/√inputs; biases become zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
