"""Fits a head on cached bottlenecks, and says out of fold how good it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
import torch
from torch import Tensor

from atlas.errors import TrainingError
from atlas.heads import Head
from atlas.losses import encode, node_loss
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.folds import Folds, fit_folds, out_of_fold, report
from atlas.training.optimise import new_head, one_thread, optimise
from atlas.training.uda_heads import ViewRows

LOG_TEMPERATURE_BOUNDS = (-2.0, 2.0)


@dataclass(frozen=True)
class Fit:
    """A trained head and what out-of-fold predictions say of it.

    Attributes:
        head: ready to predict, its temperature set.
        out_of_fold: level or attribute → {"accuracy": [0, 1], "n": labels it was measured on};
            quantity → {"mean_absolute_error": in its own unit, "n"}.
        folds: the heads that made the out-of-fold predictions.
        weights: task with a loss → what the balancer multiplied it by in the end.
        seconds: how long all of it took.
    """

    head: Head
    out_of_fold: dict[str, dict[str, float]]
    folds: Folds
    weights: dict[str, float]
    seconds: float


def moments(sample: NDArray[np.floating]) -> tuple[Tensor, Tensor]:
    """Mean and spread (D,) of a sample (n, D) of the pool; a constant feature has spread 1."""
    values = torch.from_numpy(np.asarray(sample, dtype=np.float32))
    spread = values.std(dim=0, correction=0)
    return values.mean(dim=0), torch.where(spread > 1e-6, spread, torch.ones_like(spread))


def fit_head(
    bottlenecks: NDArray[np.floating],
    labels: Sequence[Mapping[str, str]],
    *,
    taxonomy: Taxonomy,
    settings: HeadSettings,
    pool_moments: tuple[Tensor, Tensor],
    rng: np.random.Generator,
    views: ViewRows | None = None,
) -> Fit:
    """Fit the head of `settings` on labelled bottlenecks.

    The temperature is fitted on out-of-fold leaf scores (Guo et al. 2017, one number, by NLL);
    with fewer labels than two a fold it stays 1.

    Args:
        bottlenecks: (N, D).
        labels: N mappings task → value, each of one value or more.
        taxonomy: what is predicted.
        settings: which head and balancer, their arguments, the method, how many folds.
        pool_moments: see `moments`.
        rng: draws the folds, then the batches where there are any.
        views: of the same images and of unlabelled ones, to train on as well.

    Raises:
        TrainingError: no labels.
        PluginError: no such head or balancer, or arguments it does not take.
        SettingsError: a balancer that cannot work with the head or the method.
    """
    if not labels:
        raise TrainingError("no labels to train on yet; label some queries first")
    started = time.perf_counter()
    x = torch.from_numpy(np.asarray(bottlenecks, dtype=np.float32))
    targets = encode(labels, taxonomy)
    head = new_head(x.shape[1], taxonomy, settings, pool_moments)
    x = head.standardise(x)
    with one_thread():
        folds = fit_folds(x, targets, head, settings, rng, views=views)
        found = out_of_fold(x, targets, head, folds)
        balancer = optimise(head, x, targets, settings, rng, views=views)
        if bool(found.familiar.any()):
            under = targets.under[found.familiar]
            head.temperature.fill_(_temperature(found.leaves[found.familiar], under))
    for other in folds.heads:
        other.temperature.copy_(head.temperature)
    out = report(head, found, targets)
    return Fit(head.eval(), out, folds, balancer.weights(), time.perf_counter() - started)


def _temperature(leaf_scores: Tensor, under: Tensor) -> float:
    def loss(log_temperature: float) -> float:
        return float(node_loss(leaf_scores / float(np.exp(log_temperature)), under))

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    return float(np.exp(found.x))
