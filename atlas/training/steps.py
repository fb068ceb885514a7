"""Training in steps, for what L-BFGS cannot do: batches, and weights that move between them."""

from collections.abc import Callable, Mapping

from timm.scheduler import CosineLRScheduler
import torch
from torch import Tensor

from atlas.balancers import Balancer
from atlas.errors import TrainingError
from atlas.heads import Head
from atlas.settings import StepSettings

LossesAt = Callable[[int], Mapping[str, Tensor]]
WARM_UP = 20  # one step in so many


def run_steps(
    head: Head,
    balancer: Balancer,
    losses_at: LossesAt,
    settings: StepSettings,
    *,
    extra: Callable[[int], Tensor] | None = None,
) -> None:
    """AdamW steps, warm-up then half a cosine, on balanced losses and the head's own penalty.

    Layers of a task that is not among a step's losses have no gradient in it, and neither momentum
    nor penalty moves them.

    Args:
        head: trained in place.
        balancer: of the losses; its parameters are trained too.
        losses_at: step (from 0) → task → loss of that step's batch, ().
        settings: how many steps and how large.
        extra: step → a loss beside the tasks', (), such as consistency.

    Raises:
        SettingsError: the balancer cannot work with this head.
        TrainingError: a loss or a weight that is not finite.
    """
    balancer.check(head)
    # the head's penalty is in the loss, as for L-BFGS, so that both look for the same minimum
    optimizer = torch.optim.AdamW(
        [*head.parameters(), *balancer.parameters()], lr=settings.lr, weight_decay=0.0
    )
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=settings.count,
        warmup_t=settings.count // WARM_UP,
        warmup_lr_init=settings.lr / WARM_UP,
        t_in_epochs=False,
    )
    for step in range(settings.count):
        optimizer.zero_grad()
        losses = losses_at(step)
        if losses:
            balancer.before_step(losses, head.shared())
        loss = balancer(losses) + head.penalty(losses)
        if extra is not None:
            loss = loss + extra(step)
        check_finite(loss)
        if loss.requires_grad:  # not where annealing left no label
            loss.backward()
        optimizer.step()
        schedule.step_update(step + 1)
    for parameter in head.parameters():
        check_finite(parameter)


def check_finite(values: Tensor) -> None:
    """Raise `TrainingError` where a value is infinite or no number."""
    if not bool(torch.isfinite(values).all()):
        raise TrainingError(
            "the head's loss is not finite; the bottlenecks are damaged or head.args too extreme"
        )
