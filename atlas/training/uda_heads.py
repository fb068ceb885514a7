"""Heads trained on cached views: labels on any view of an image, and UDA on unlabelled images.

UDA (Xie et al. 2019, see `atlas.training.finetune.uda`) without a single pixel: the clean
bottleneck of an unlabelled image gives the target, that of an augmented view the prediction. A
step is a few small products, so a training takes seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from atlas.balancers import total
from atlas.heads import Head
from atlas.losses import Targets
from atlas.settings import StepSettings, UdaSettings
from atlas.training.finetune.uda import annealed, consistency, consistency_scores


@dataclass(frozen=True)
class ViewRows:
    """Bottlenecks of views, as cached: float16 and not standardised; and how to train on them.

    Attributes:
        labelled: (M, N, D) views of the N labelled images, in the order of the labels.
        clean: (U, D) unlabelled images as they are.
        augmented: (M, U, D) views of the same.
        uda: weight, temperature, threshold and annealing.
        steps: how many, and how many labelled and as many unlabelled images in each.
    """

    labelled: Tensor
    clean: Tensor
    augmented: Tensor
    uda: UdaSettings
    steps: StepSettings

    def of(self, rows: Tensor) -> "ViewRows":
        """The same with some of the labelled images, by (N,) bool or (n,) int64."""
        return replace(self, labelled=self.labelled[:, rows])


class ViewBatches:
    """The losses of each step, for `run_steps`.

    Args:
        head: in training.
        x: standardised (N, D), the labelled images as they are.
        targets: N labels.
        views: of these images, and of unlabelled ones.
        rng: draws batches and views.
    """

    def __init__(
        self,
        head: Head,
        x: Tensor,
        targets: Targets,
        views: ViewRows,
        rng: np.random.Generator,
    ) -> None:
        self._head = head
        self._x = x
        self._targets = targets
        self._views = views
        self._rng = rng
        self._tasks = head.present(targets)

    def losses_at(self, step: int) -> dict[str, Tensor]:
        """Task → loss of a batch of labelled images, each as it is or in a view, all as likely."""
        steps, views = self._views.steps, self._views.labelled
        size = min(steps.batch_size, len(self._x))
        rows = self._draw(len(self._x), size)
        view = torch.from_numpy(self._rng.integers(-1, len(views), size))
        drawn = self._head.standardise(views[view, rows].float())
        x = torch.where(view[:, None] < 0, self._x[rows], drawn)
        schedule = self._views.uda.annealing
        targets = annealed(self._head, x, self._targets[rows], schedule, step / steps.count)
        return self._head.losses(x, targets)

    def consistency_at(self, step: int) -> Tensor:
        """λ · the consistency, summed over tasks, of unlabelled images and one view of each, ()."""
        uda, unlabelled = self._views.uda, len(self._views.clean)
        size = min(self._views.steps.batch_size, unlabelled)
        rows = self._draw(unlabelled, size)
        view = torch.from_numpy(self._rng.integers(len(self._views.augmented), size=size))
        with torch.no_grad():
            clean = self._scores(self._views.clean[rows])
        augmented = self._scores(self._views.augmented[view, rows])
        return uda.weight * total([consistency(clean[t], augmented[t], uda) for t in augmented])

    def _draw(self, rows: int, size: int) -> Tensor:
        return torch.from_numpy(self._rng.choice(rows, size, replace=False))

    def _scores(self, bottlenecks: Tensor) -> Mapping[str, Tensor]:
        x = self._head.standardise(bottlenecks.float())
        return consistency_scores(self._head, x, self._tasks)
