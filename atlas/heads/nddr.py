"""A column for each task; each task reads all of them through a projection of its own."""

from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.heads import Head
from atlas.heads._layers import ByTask, Columns, seed_weights, shares
from atlas.losses import Targets
from atlas.taxonomy import Taxonomy


class Nddr(Head):
    """The columns side by side → 1×1 projection → batch norm → a task's scores.

    Neural discriminative dimensionality reduction (Gao et al., 1801.08297). On vectors, a 1×1
    convolution is a linear map. As its authors do, projections start at .9 times the task's own
    column and .1 times the others', and the weight penalty holds them in bounds; their hundredfold
    learning rate is left out, for L-BFGS finds its own step.

    Batch norm goes in two rounds. In the first it uses the statistics of the batch: with all rows
    in one batch the loss is a fixed function of the weights, which is what L-BFGS needs. Between
    the rounds the statistics of all rows are measured and kept; the second round, and whoever
    predicts, uses those, so that training and prediction are one function. A batch of one row has
    no spread, and uses what was kept so far.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty, on the norms' gains as well.
        width: size of a column's hidden layer and of a projection.
        seed: of the initial weights.
    """

    max_iterations = 15
    rounds = 2

    def __init__(
        self, features: int, taxonomy: Taxonomy, *, l2: float = 0.05, width: int = 32, seed: int = 0
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        number = len(taxonomy.outputs)
        self.columns = Columns(number, features, width)
        self.tasks = ByTask(
            {task: _Own(number, width, outputs) for task, outputs in taxonomy.outputs.items()}
        )
        seed_weights(self, seed)
        with torch.no_grad():
            for own, task in enumerate(self.tasks):
                share = shares(own, number)
                self._own(task).project.weight.copy_(torch.kron(share[None], torch.eye(width)))

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """See `Head`; only the tasks wanted pass through their norm, which remembers it."""
        joined = self._joined(x)
        return {task: own(joined) for task, own in self.own_layers(tasks).items()}

    def between_rounds(self, x: Tensor, targets: Targets) -> None:
        """See `Head`: from here on batch norm uses the statistics of these rows."""
        with torch.no_grad():
            joined = self._joined(x)
            for task in self.present(targets):
                own = self._own(task)
                own.norm.keep(own.project(joined))

    def shared(self) -> tuple[Tensor, ...]:
        """See `Head`; every task reads every column."""
        return self.columns.weights()

    def _own(self, task: str) -> "_Own":
        return cast(_Own, self.tasks[task])

    def _joined(self, x: Tensor) -> Tensor:
        return torch.cat(self.columns([x] * len(self.columns)), dim=1)


class KeptNorm(nn.BatchNorm1d):
    """Batch norm whose statistics can be measured once and kept, in training as well."""

    kept: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-3, momentum=0.05)  # the authors'
        self.register_buffer("kept", torch.tensor(False))

    def keep(self, x: Tensor) -> None:
        """Use the mean and the spread of (N, width) from now on; of one row, what was there."""
        assert self.running_mean is not None and self.running_var is not None
        if len(x) > 1:
            self.running_mean.copy_(x.mean(dim=0))
            self.running_var.copy_(x.var(dim=0, correction=0))
        self.kept.fill_(True)

    def forward(self, input: Tensor) -> Tensor:  # the parent's name for it
        """(N, width) → (N, width)."""
        if self.training and len(input) > 1 and not bool(self.kept):
            return super().forward(input)
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class _Own(nn.Module):
    """(N, columns · width) → (N, outputs)."""

    def __init__(self, columns: int, width: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Linear(columns * width, width, bias=False)
        self.norm = KeptNorm(width)
        self.out = nn.Linear(width, outputs)

    def forward(self, joined: Tensor) -> Tensor:
        scores: Tensor = self.out(F.gelu(self.norm(self.project(joined))))
        return scores


HEAD = Nddr
