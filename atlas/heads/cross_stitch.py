"""A column of hidden layers for each task; after each layer, every column takes from the others."""

from collections.abc import Collection, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from atlas.errors import PluginError
from atlas.heads import Head
from atlas.heads._layers import ByTask, Columns, seed_weights, shares
from atlas.taxonomy import Taxonomy


class CrossStitch(Head):
    """Columns that are mixed after every layer: x̃_t = Σ_s α_ts x_s (Misra et al., 1604.03539).

    Each row of α sums to 1 by construction, so that mixing changes no scale: what a column keeps
    of itself is 1 minus what it takes from the others. With α the identity these are single-task
    networks. A task has its row of the last α to itself; earlier rows feed all tasks.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty; α is free of it.
        widths: sizes of a column's hidden layers, one or more.
        seed: of the initial weights.

    Raises:
        PluginError: no widths.
    """

    max_iterations = 25

    def __init__(
        self,
        features: int,
        taxonomy: Taxonomy,
        *,
        l2: float = 0.1,
        widths: Sequence[int] = (32,),
        seed: int = 0,
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        if not widths:
            raise PluginError("cross_stitch: widths is empty; give one or more, such as [32]")
        number = len(taxonomy.outputs)
        inputs = (features, *widths[:-1])
        self.layers = nn.ModuleList(
            Columns(number, before, width) for before, width in zip(inputs, widths, strict=True)
        )
        self.stitches = nn.ModuleList(
            nn.ModuleList(Stitch(own, number) for own in range(number)) for _ in widths[:-1]
        )
        self.tasks = ByTask(
            {
                task: nn.Sequential(Stitch(own, number), nn.Linear(widths[-1], outputs))
                for own, (task, outputs) in enumerate(taxonomy.outputs.items())
            }
        )
        seed_weights(self, seed)

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """See `Head`."""
        inputs = [x] * len(self.tasks)
        for layer, stitches in zip(self.layers[:-1], self.stitches, strict=True):
            columns = torch.stack(layer(inputs))
            inputs = [stitch(columns) for stitch in cast(nn.ModuleList, stitches)]
        columns = torch.stack(self.layers[-1](inputs))
        return {task: own(columns) for task, own in self.own_layers(tasks).items()}

    def shared(self) -> tuple[Tensor, ...]:
        """See `Head`; every task reads every column."""
        return cast(Columns, self.layers[-1]).weights()


class Stitch(nn.Module):
    """One row of α: (columns, N, width) → (N, width).

    Args:
        own: which column keeps what the others do not give.
        columns: how many there are.
    """

    def __init__(self, own: int, columns: int) -> None:
        super().__init__()
        self.own = own
        first = shares(own, columns)
        self.others = nn.Parameter(torch.cat([first[:own], first[own + 1 :]]))

    @property
    def alpha(self) -> Tensor:
        """(columns,) shares that sum to 1."""
        kept = 1 - self.others.sum(dim=0, keepdim=True)
        return torch.cat([self.others[: self.own], kept, self.others[self.own :]])

    def forward(self, columns: Tensor) -> Tensor:
        """Σ_s α_s x_s."""
        result: Tensor = torch.tensordot(self.alpha, columns, dims=1)
        return result


HEAD = CrossStitch
