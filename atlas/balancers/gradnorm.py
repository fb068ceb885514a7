"""Weights that let all tasks learn at one pace (GradNorm, Chen et al. 1711.02257)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from atlas.balancers import Balancer, total

SMALLEST = 0.01


class GradNorm(Balancer):
    """A task whose loss has fallen less than others' gets a larger gradient at the shared layer.

    With g_t = ‖∇_W L_t‖ at the last shared weights W, the weights w_t follow the gap
    Σ_t |w_t·g_t − mean(w·g)·r_t^α|, whose target counts as given; r_t is L_t / L_t(0) over the mean
    of that. L_t(0) is the loss at the step where a task first appears.

    Only the weights of the tasks in the batch move, and their sum stays what it was: over the tasks
    seen so far the weights sum to their number.

    Args:
        tasks: those that the head has a loss for.
        alpha: how strongly the paces are drawn together; the authors' 1.5.
        lr: of the weights' own Adam; the authors' 0.025.
    """

    needs_steps = True
    needs_all_tasks = True
    needs_shared = True

    def __init__(self, tasks: tuple[str, ...], alpha: float = 1.5, lr: float = 0.025) -> None:
        super().__init__(tasks)
        self.alpha = alpha
        self._weights = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in tasks)
        self._first: dict[str, float] = {}
        self._optimizer = torch.optim.Adam(self._weights.parameters(), lr=lr)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """See `Balancer`."""
        return total([self._weight(task).detach() * loss for task, loss in losses.items()])

    def weights(self) -> dict[str, float]:
        """See `Balancer`."""
        return {task: float(self._weight(task).detach()) for task in self.tasks}

    def before_step(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> None:
        """See `Balancer`; moves the weights of the tasks in `losses`, and nothing else."""
        if len(losses) < 2:
            for task, loss in losses.items():
                self._first.setdefault(task, float(loss.detach()))
            return
        weights = [self._weight(task) for task in losses]
        before = sum(float(weight.detach()) for weight in weights)
        gradients = self.gap_gradients(losses, shared)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad()
        with torch.no_grad():
            for weight in weights:
                weight.clamp_(min=SMALLEST)
            after = sum(float(weight) for weight in weights)
            for weight in weights:
                weight.mul_(before / after)

    def gap_gradients(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> Tensor:
        """(tasks in `losses`,): the derivative of the gap by each weight."""
        weights = torch.stack([self._weight(task).detach() for task in losses])
        norms = torch.stack([_norm(loss, shared) for loss in losses.values()])
        fallen = torch.stack([self._fallen(task, loss) for task, loss in losses.items()])
        pace = fallen / fallen.mean()
        scaled = weights * norms  # ‖∇ w·L‖ = w·‖∇ L‖, so no second derivative is needed
        target = scaled.mean() * pace**self.alpha
        return norms * torch.sign(scaled - target)

    def _fallen(self, task: str, loss: Tensor) -> Tensor:
        first = self._first.setdefault(task, float(loss.detach()))
        smallest = torch.finfo(loss.dtype).tiny  # a loss of 0 has nothing to fall from
        return loss.detach().clamp(min=smallest) / max(first, smallest)

    def _weight(self, task: str) -> Tensor:
        weight: Tensor = self._weights[self.tasks.index(task)]
        return weight


def _norm(loss: Tensor, shared: Sequence[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(loss, list(shared), retain_graph=True)
    norm: Tensor = torch.linalg.vector_norm(torch.cat([one.flatten() for one in gradients]))
    return norm


BALANCER = GradNorm
