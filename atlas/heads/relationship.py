"""Task adapters under one prior, whose covariances say which tasks are related."""

from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.heads import Head
from atlas.heads._layers import ByTask, seed_weights
from atlas.losses import Targets
from atlas.taxonomy import Taxonomy

SHRINKAGE = 0.1  # share of the identity in a covariance: keeps it invertible


class Relationship(Head):
    """A shared hidden layer, an adapter of equal shape for each task, a linear layer on each.

    Deep relationship network (Long et al., 1506.02117). The adapters' weights W, (tasks, width,
    width), have a tensor normal prior: the penalty is
    l2/2 · vec(W)ᵀ (Σ_task ⊗ Σ_class ⊗ Σ_feat)⁻¹ vec(W). The paper has it on layers that give
    classes; tasks here differ in those, so it lies one layer below, and Σ_class is over the
    adapter's outputs. All adapters start alike, so that their outputs mean the same in every task.

    Weights and covariances are fitted in turns: the head is optimised `rounds` times, and the
    covariances are set in between. They start at the identity, which is plain weight decay.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty.
        width: size of the shared layer and of the adapters.
        seed: of the initial weights.
    """

    max_iterations = 12
    rounds = 3

    task_covariance: Tensor
    class_covariance: Tensor
    feature_covariance: Tensor

    def __init__(
        self, features: int, taxonomy: Taxonomy, *, l2: float = 0.02, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        self.trunk = nn.Linear(features, width)
        self.tasks = ByTask(
            {task: _Own(width, outputs) for task, outputs in taxonomy.outputs.items()}
        )
        self.register_buffer("task_covariance", torch.eye(len(self.tasks)))
        self.register_buffer("class_covariance", torch.eye(width))
        self.register_buffer("feature_covariance", torch.eye(width))
        seed_weights(self, seed)
        bound = width**-0.5
        start = torch.empty(width, width)
        start.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            for own in self._own():
                own.adapter.copy_(start)

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """See `Head`."""
        hidden = F.gelu(self.trunk(x))
        return {task: own(hidden) for task, own in self.own_layers(tasks).items()}

    def shared(self) -> tuple[Tensor, ...]:
        """See `Head`."""
        return (self.trunk.weight,)

    def penalty(self, tasks: Collection[str] | None = None) -> Tensor:
        """See `Head`; the adapters' part is vec(W)ᵀ (Σ_task ⊗ Σ_class ⊗ Σ_feat)⁻¹ vec(W).

        Where `tasks` are some of all, Σ_task is cut down to them: the prior of those tasks alone.
        """
        present = self._numbers(tasks)
        rest = super().penalty(tasks)
        if not present:
            return rest
        weights = self._adapters(present)
        between_tasks, classes, features = (_inverse(part) for part in self._parts(present))
        across: Tensor = torch.tensordot(between_tasks, classes @ weights @ features, dims=1)
        return rest + (weights * across).sum() * self.l2 / 2

    def between_rounds(self, x: Tensor, targets: Targets) -> None:
        """See `Head`: the covariances are set to those of the weights there are."""
        self.update_covariances(self.present(targets))

    @torch.no_grad()
    def update_covariances(self, tasks: Collection[str] | None = None) -> None:
        """Set Σ_task, Σ_class and Σ_feat in turn to the best for the weights and the other two.

        Each is scaled to a trace of its size, then drawn towards the identity by `SHRINKAGE`: so
        it stays positive definite, and the strength of the penalty stays that of `l2`.

        Args:
            tasks: those that were trained; the others stay unrelated. All where None.
        """
        present = self._numbers(tasks)
        if not present:
            return
        weights = self._adapters(present).double()
        parts = [part.double() for part in self._parts(present)]
        for axis in range(3):
            first, second = (other for other in range(3) if other != axis)
            parts[axis] = _normalised(
                _covariance(
                    weights.permute(axis, first, second),
                    _inverse(parts[first]),
                    _inverse(parts[second]),
                )
            )
        self.task_covariance.copy_(torch.eye(len(self.tasks)))
        self.task_covariance[_block(present)] = parts[0].float()
        self.class_covariance.copy_(parts[1])
        self.feature_covariance.copy_(parts[2])

    def _numbers(self, tasks: Collection[str] | None) -> list[int]:
        return [i for i, task in enumerate(self.tasks) if tasks is None or task in tasks]

    def _adapters(self, present: list[int]) -> Tensor:
        """(tasks, width, width): task, output, input."""
        own = self._own()
        return torch.stack([own[i].adapter for i in present])

    def _own(self) -> list["_Own"]:
        return [cast(_Own, own) for own in self.tasks.values()]

    def _parts(self, present: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        among = self.task_covariance[_block(present)]
        return among, self.class_covariance, self.feature_covariance


class _Own(nn.Module):
    """(N, width) → (N, outputs), by way of the adapter."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        # no "weight" in the name: its penalty is the relationship's
        self.adapter = nn.Parameter(torch.empty(width, width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        scores: Tensor = self.out(F.gelu(F.linear(hidden, self.adapter, self.bias)))
        return scores


def _block(present: list[int]) -> tuple[Tensor, Tensor]:
    rows = torch.tensor(present)
    return rows[:, None], rows[None]


def _inverse(covariance: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky(covariance))


def _covariance(weights: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """(A, B, C) weights, inverse covariances of the last two axes → (A, A) of the first."""
    whitened = second @ weights @ third
    result: Tensor = torch.tensordot(weights, whitened, dims=([1, 2], [1, 2]))
    return result


def _normalised(covariance: Tensor) -> Tensor:
    size, trace = len(covariance), float(covariance.trace())
    identity = torch.eye(size, dtype=covariance.dtype)
    if trace == 0:  # every weight is zero, and says nothing
        return identity
    return (1 - SHRINKAGE) * covariance * (size / trace) + SHRINKAGE * identity


HEAD = Relationship
