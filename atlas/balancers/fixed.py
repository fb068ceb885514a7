"""Weights that somebody chose."""

from collections.abc import Mapping
from math import isfinite

from torch import Tensor

from atlas.balancers import Balancer, total
from atlas.errors import SettingsError


class Fixed(Balancer):
    """A constant weight a task.

    Args:
        tasks: those that the head has a loss for.
        by_task: task → weight above 0; 1 for the tasks that are not in it.

    Raises:
        SettingsError: a task that the head has no loss for, or a weight that is not above 0.
    """

    def __init__(self, tasks: tuple[str, ...], by_task: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        chosen = dict(by_task or {})
        unknown = sorted(set(chosen) - set(tasks))
        if unknown:
            raise SettingsError(
                f"head.balancer_args: no task {', '.join(unknown)}; this head has a loss for "
                f"{', '.join(tasks)}"
            )
        for task, weight in chosen.items():
            if not (isfinite(weight) and weight > 0):
                raise SettingsError(
                    f"head.balancer_args: the weight of {task} is {weight}; it must be above 0"
                )
        self._by_task = {task: float(chosen.get(task, 1.0)) for task in tasks}

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """See `Balancer`."""
        return total([self._by_task[task] * loss for task, loss in losses.items()])

    def weights(self) -> dict[str, float]:
        """See `Balancer`."""
        return dict(self._by_task)


BALANCER = Fixed
