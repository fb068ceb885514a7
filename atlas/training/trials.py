"""One fit measured on images it never saw: of all tasks together, or of one as if it were alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.heads import Head
from atlas.losses import MISSING, Targets
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.optimise import new_head, one_thread, optimise


@dataclass(frozen=True)
class Examples:
    """Labelled images.

    Attributes:
        bottlenecks: (N, D) float32.
        targets: N labels.
        taxonomy: what is predicted.
        moments: mean and spread of the pool, (D,) each.
    """

    bottlenecks: Tensor
    targets: Targets
    taxonomy: Taxonomy
    moments: tuple[Tensor, Tensor]

    def __getitem__(self, rows: Tensor) -> "Examples":
        return replace(self, bottlenecks=self.bottlenecks[rows], targets=self.targets[rows])

    def __len__(self) -> int:
        return len(self.targets)

    def labels(self) -> dict[str, int]:
        """Task → how many labels speak of it; those that none speaks of are left out."""
        found = {task: int(self.targets.labelled(task).sum()) for task in self.taxonomy.outputs}
        return {task: labels for task, labels in found.items() if labels}

    def alone(self, task: str) -> "Examples":
        """The same images as if nothing but one task were predicted, a level as a flat list."""
        if task in self.taxonomy.quantities:
            return self._quantity_alone(task)
        # numbers stand for the classes: their paths would be a tree again
        classes = len(self.taxonomy.tasks[task])
        flat = Taxonomy((task,), tuple(str(i) for i in range(classes)), {})
        column = self.targets.classes[task]
        under = F.one_hot(column.clamp(min=0), classes).bool() & (column != MISSING)[:, None]
        return replace(self, targets=Targets(under, {task: column}), taxonomy=flat)

    def _quantity_alone(self, task: str) -> "Examples":
        # a taxonomy has a level; nobody labels this one, so its layers stay untrained
        level = f"not_{task}"
        flat = Taxonomy((level,), ("a", "b"), {}, (task,))
        nobody = torch.full((len(self),), MISSING)
        under = torch.zeros(len(self), 2, dtype=torch.bool)
        targets = Targets(under, {level: nobody}, {task: self.targets.numbers[task]})
        return replace(self, targets=targets, taxonomy=flat)


@dataclass(frozen=True)
class Trial:
    """What a fit was worth.

    Attributes:
        scores: task → accuracy; of a quantity 1 − its mean absolute error ÷ that of the training
            labels' median, so that 1 is exact and 0 no better than the median. A task that lacks
            labels, in training or in the test, is left out.
        errors: quantity → mean absolute error in its own unit.
        seconds: of the fit.
    """

    scores: Mapping[str, float]
    errors: Mapping[str, float]
    seconds: float


def try_out(
    train: Examples, test: Examples, settings: HeadSettings, rng: np.random.Generator
) -> Trial:
    """Fit the head of `settings` on some images and measure it on others.

    Args:
        train: to fit on.
        test: others, of the same taxonomy.
        settings: which head and how.
        rng: draws batches, where there are steps.

    Raises:
        PluginError, SettingsError, TrainingError: see `optimise`.
    """
    head = new_head(train.bottlenecks.shape[1], train.taxonomy, settings, train.moments)
    started = time.perf_counter()
    with one_thread():
        optimise(head, head.standardise(train.bottlenecks), train.targets, settings, rng)
    seconds = time.perf_counter() - started
    scores, errors = _measure(head.eval(), train, test)
    return Trial(scores, errors, seconds)


def try_alone(train: Examples, test: Examples, task: str, settings: HeadSettings) -> Trial:
    """The same with a head of this kind for one task; balancer and method then mean nothing."""
    plain = HeadSettings(name=settings.name, args=settings.args)
    return try_out(train.alone(task), test.alone(task), plain, np.random.default_rng(0))


def _measure(
    head: Head, train: Examples, test: Examples
) -> tuple[dict[str, float], dict[str, float]]:
    both = train.labels().keys() & test.labels().keys()
    scores: dict[str, float] = {}
    errors: dict[str, float] = {}
    with torch.inference_mode():
        log_probs, numbers = head(test.bottlenecks), head.numbers(test.bottlenecks)
    for task in test.taxonomy.outputs:
        if task not in both:
            continue
        rows = test.targets.labelled(task)
        if task in log_probs:
            right = log_probs[task][rows].argmax(dim=1) == test.targets.classes[task][rows]
            scores[task] = float(right.double().mean())
            continue
        truth, known = test.targets.numbers[task][rows], train.targets.numbers[task]
        errors[task] = _mean_error(numbers[task][rows], truth)
        by_median = _mean_error(known[train.targets.labelled(task)].median(), truth)
        if by_median > 0:
            scores[task] = 1 - errors[task] / by_median
    return scores, errors


def _mean_error(said: Tensor, truth: Tensor) -> float:
    return float((said - truth).abs().double().mean())
