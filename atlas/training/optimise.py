"""A new head, and its best weights: by L-BFGS where one function is minimised, else in steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from atlas import plugins
from atlas.balancers import Balancer
from atlas.errors import SettingsError
from atlas.heads import Head
from atlas.losses import Targets, encode
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.methods import Corrected, MethodOne, MethodTwo
from atlas.training.steps import check_finite, run_steps
from atlas.training.uda_heads import ViewBatches, ViewRows
from atlas.types import LABEL

Moments = tuple[Tensor, Tensor]


def new_head(
    features: int, taxonomy: Taxonomy, settings: HeadSettings, pool_moments: Moments
) -> Head:
    """The head of `settings`, untrained.

    Raises:
        PluginError: no such head, or arguments it does not take.
    """
    arguments = {"features": features, "taxonomy": taxonomy, **settings.args}
    head: Head = plugins.build("atlas.heads", settings.name, arguments)
    head.mean.copy_(pool_moments[0])
    head.std.copy_(pool_moments[1])
    return head


def new_balancer(head: Head, settings: HeadSettings) -> Balancer:
    """The balancer of `settings` for a head's tasks.

    Raises:
        PluginError: no such balancer, or arguments it does not take.
        SettingsError: it cannot work with this head, or with the method.
    """
    arguments = {"tasks": tasks_of(head), **settings.balancer_args}
    balancer: Balancer = plugins.build("atlas.balancers", settings.balancer, arguments)
    balancer.check(head)
    if settings.method == "two" and balancer.needs_all_tasks:
        raise SettingsError(
            f"the balancer {settings.balancer} compares the tasks of one batch, and method two has "
            'one task a batch; set head.method to "one" or choose another head.balancer'
        )
    return balancer


def tasks_of(head: Head) -> tuple[str, ...]:
    """The names of all losses that a head can have: those of a label that leaves nothing out."""
    taxonomy = head.taxonomy
    label = {LABEL: taxonomy.leaves[0]}
    label |= {name: known[0] for name, known in taxonomy.attributes.items()}
    label |= dict.fromkeys(taxonomy.quantities, "0")
    return head.present(encode([label], taxonomy))


def optimise(
    head: Head,
    x: Tensor,
    targets: Targets,
    settings: HeadSettings,
    rng: np.random.Generator,
    *,
    views: ViewRows | None = None,
) -> Balancer:
    """Fit a head in place; layers of tasks without a label stay as they are, to the bit.

    Args:
        head: as `new_head` made it.
        x: standardised (N, D).
        targets: N labels.
        settings: the balancer, the method and the steps.
        rng: draws batches, where there are steps.
        views: of the same images and of unlabelled ones, to train on as well; in steps.

    Returns:
        The balancer, its weights as they are in the end.

    Raises:
        PluginError, SettingsError: see `new_balancer`.
        TrainingError: damaged bottlenecks, or a penalty too extreme.
    """
    balancer = new_balancer(head, settings)
    if views is not None and settings.method == "two":
        raise SettingsError('head.views goes with head.method = "one"; set one of them otherwise')
    if not head.present(targets):
        return balancer
    _set_units(head, targets)
    for number in range(head.rounds):
        if number:
            head.between_rounds(x, targets)
        if views is not None:
            batches = ViewBatches(head, x, targets, views, rng)
            extra = batches.consistency_at if len(views.clean) else None
            run_steps(head, balancer, batches.losses_at, views.steps, extra=extra)
        elif settings.method == "two":
            two = MethodTwo(head, x, targets, settings.steps.batch_size, rng)
            corrected = Corrected(balancer, two.chance)
            run_steps(head, corrected, two.losses_at, settings.steps, extra=two.rest_of_penalty)
        elif balancer.needs_steps:
            one = MethodOne(head, x, targets, settings.steps.batch_size, rng)
            run_steps(head, balancer, one.losses_at, settings.steps)
        else:
            _run_lbfgs(head, balancer, x, targets)
    return balancer


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread."""
    # These products are small: threads gain little on idle cores, and on busy ones their
    # spinning makes a fit ten times slower.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _set_units(head: Head, targets: Targets) -> None:
    """Quantities in standard units of the labels; a constant one, or a single label, has spread 1.

    Without a label a quantity keeps its unit.
    """
    for i, name in enumerate(head.taxonomy.quantities):
        values = targets.numbers[name]
        known = values[~torch.isnan(values)].double()
        if not len(known):
            continue
        spread = float(known.std(correction=0))
        head.number_mean[i] = float(known.mean())
        # below float32's own resolution a spread is nothing but rounding
        head.number_std[i] = spread if spread > 1e-7 * float(known.abs().max()) else 1.0


def _run_lbfgs(head: Head, balancer: Balancer, x: Tensor, targets: Targets) -> None:
    """Full-batch L-BFGS: a handful of passes over a few megabytes, and no learning rate to tune."""
    learned = list(balancer.parameters())
    solved = [] if learned else head.solve(x, targets, balancer.weights())
    optimizer = torch.optim.LBFGS(
        [*(one for one in head.parameters() if not any(one is s for s in solved)), *learned],
        max_iter=head.max_iterations,
        line_search_fn="strong_wolfe",
        # ten times closer costs up to twice the time and moves 2 answers in 1,000 (docs/log.md)
        tolerance_grad=1e-3,
        history_size=10,
        tolerance_change=1e-6,
    )
    present = head.present(targets)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = balancer(head.losses(x, targets)) + head.penalty(present)
        check_finite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    for parameter in head.parameters():
        check_finite(parameter)
