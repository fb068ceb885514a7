"""Weights by each task's own noise, learned together with the head (Kendall et al. 1705.07115)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from atlas.balancers import Balancer, total


class Uncertainty(Balancer):
    """The sum over the tasks in the batch of e⁻ˢ·L + s/2, where s = log σ² is learned.

    Kendall has e⁻ˢ·CE + s/2 for a class and ½·e⁻ˢ·SE + s/2 for a number with squared error SE. Our
    loss of a number is L = SE/2 already, so both are the same expression in L. The best s is
    log 2L: a task's weight e⁻ˢ is then 1/(2L), and the gradient ∇L/(2L).

    The term s/2 is left out together with the loss: without a loss against it, it would take s to
    minus infinity. The weights grow as the losses fall, and so does what they are worth beside the
    head's penalty on its weights.

    Args:
        tasks: those that the head has a loss for.
        limit: s stays between −limit and limit; weights between e^−limit and e^limit.
    """

    def __init__(self, tasks: tuple[str, ...], limit: float = 5.0) -> None:
        super().__init__(tasks)
        self.limit = limit
        # one parameter a task, so that an absent one has no gradient, and no momentum moves it
        self._free = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in tasks)

    def log_variance(self, task: str) -> Tensor:
        """The s of a task, ()."""
        # a cut-off would have no gradient beyond the limit, and s would never come back
        return self.limit * torch.tanh(self._free[self.tasks.index(task)] / self.limit)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """See `Balancer`."""
        parts = []
        for task, loss in losses.items():
            s = self.log_variance(task)
            parts.append(torch.exp(-s) * loss + s / 2)
        return total(parts)

    def weights(self) -> dict[str, float]:
        """See `Balancer`."""
        return {task: float(torch.exp(-self.log_variance(task).detach())) for task in self.tasks}


BALANCER = Uncertainty
