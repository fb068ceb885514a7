"""Fits a head on cached bottlenecks, and says out of fold how good it is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
import torch
from torch import Tensor

from atlas import plugins
from atlas.errors import TrainingError
from atlas.heads import Head
from atlas.losses import MISSING, Targets, encode, node_loss
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy

LOG_TEMPERATURE_BOUNDS = (-2.0, 2.0)
MIN_PER_FOLD = 2


@dataclass(frozen=True)
class Fit:
    """A trained head and what out-of-fold predictions say of it.

    Attributes:
        head: ready to predict, its temperature set.
        out_of_fold: level or attribute → {"accuracy": [0, 1], "n": labels it was measured on}.
        folds: the heads that made the out-of-fold predictions.
        seconds: how long all of it took.
    """

    head: Head
    out_of_fold: dict[str, dict[str, float]]
    folds: "Folds"
    seconds: float


@dataclass(frozen=True)
class Folds:
    """Cross-validation heads; none where there are too few labels for folds.

    Attributes:
        heads: K heads, each trained on the labels of the other folds.
        of_row: (N,) int64, which of them never saw the row.
    """

    heads: tuple[Head, ...]
    of_row: NDArray[np.int64]


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
) -> Fit:
    """Fit the head of `settings` on labelled bottlenecks.

    The temperature is fitted on out-of-fold leaf scores (Guo et al. 2017, one number, by NLL);
    with fewer labels than two a fold it stays 1.

    Args:
        bottlenecks: (N, D).
        labels: N mappings task → value, each of one value or more.
        taxonomy: what is predicted.
        settings: which head, its arguments, how many folds.
        pool_moments: see `moments`.
        rng: draws the folds.

    Raises:
        TrainingError: no labels.
        PluginError: no such head, or arguments it does not take.
    """
    if not labels:
        raise TrainingError("no labels to train on yet; label some queries first")
    started = time.perf_counter()
    x = torch.from_numpy(np.asarray(bottlenecks, dtype=np.float32))
    targets = encode(labels, taxonomy)
    head = _new(x.shape[1], taxonomy, settings, pool_moments)
    x = head.standardise(x)
    with _one_thread():
        folds = _fit_folds(x, targets, head, settings, rng)
        leaf_scores, extra, familiar = _out_of_fold(x, targets, head, folds)
        _optimise(head, x, targets)
        if bool(familiar.any()):
            head.temperature.fill_(_temperature(leaf_scores[familiar], targets.under[familiar]))
    for other in folds.heads:
        other.temperature.copy_(head.temperature)
    accuracy = _accuracies(head, leaf_scores, extra, targets)
    return Fit(head.eval(), accuracy, folds, time.perf_counter() - started)


@contextmanager
def _one_thread() -> Iterator[None]:
    # These products are small: threads gain little on idle cores, and on busy ones their
    # spinning makes a fit ten times slower.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _new(
    features: int,
    taxonomy: Taxonomy,
    settings: HeadSettings,
    pool_moments: tuple[Tensor, Tensor],
) -> Head:
    arguments = {"features": features, "taxonomy": taxonomy, **settings.args}
    head: Head = plugins.build("atlas.heads", settings.name, arguments)
    head.mean.copy_(pool_moments[0])
    head.std.copy_(pool_moments[1])
    return head


def _optimise(head: Head, x: Tensor, targets: Targets) -> None:
    """Full-batch L-BFGS: a handful of passes over a few megabytes, and no learning rate to tune."""
    optimizer = torch.optim.LBFGS(
        head.parameters(),
        max_iter=head.max_iterations,
        line_search_fn="strong_wolfe",
        # ten times closer costs up to twice the time and moves 2 answers in 1,000 (docs/log.md)
        tolerance_grad=1e-3,
        history_size=10,
        tolerance_change=1e-6,
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = head.loss(x, targets) + head.penalty(head.present(targets))
        _check_finite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    for parameter in head.parameters():
        _check_finite(parameter)


def _check_finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise TrainingError(
            "the head's loss is not finite; the bottlenecks are damaged or head.args too extreme"
        )


def _fit_folds(
    x: Tensor, targets: Targets, like: Head, settings: HeadSettings, rng: np.random.Generator
) -> Folds:
    rows = len(x)
    if rows < MIN_PER_FOLD * settings.folds:
        return Folds((), np.zeros(0, dtype=np.int64))
    of_row = rng.permutation(np.arange(rows) % settings.folds)
    heads = []
    for number in range(settings.folds):
        head = _new(x.shape[1], like.taxonomy, settings, (like.mean, like.std))
        others = torch.from_numpy(of_row != number)
        _optimise(head, x[others], targets[others])
        heads.append(head.eval())
    return Folds(tuple(heads), of_row)


def _out_of_fold(
    x: Tensor, targets: Targets, like: Head, folds: Folds
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Scores of each row from a head that never saw it; NaN where there are too few rows.

    The last tensor (N,) says whose class was among the other folds' labels. A class that was not
    gets a score of almost nothing, which says nothing of calibration and would set the temperature
    alone where labels are few.
    """
    rows = len(x)
    leaves = torch.full((rows, len(like.taxonomy.leaves)), torch.nan)
    extra = {
        name: torch.full((rows, len(known)), torch.nan)
        for name, known in like.taxonomy.attributes.items()
    }
    familiar = torch.zeros(rows, dtype=torch.bool)
    for number, head in enumerate(folds.heads):
        out = torch.from_numpy(folds.of_row == number)
        familiar[out] = (targets.under[out] & targets.under[~out].any(dim=0)).any(dim=1)
        with torch.inference_mode():
            leaves[out] = head.leaf_scores(x[out])
            scores = head.scores(x[out])
            for name in extra:
                extra[name][out] = scores[name]
    return leaves, extra, familiar


def _temperature(leaf_scores: Tensor, under: Tensor) -> float:
    def loss(log_temperature: float) -> float:
        return float(node_loss(leaf_scores / float(np.exp(log_temperature)), under))

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def _accuracies(
    head: Head, leaf_scores: Tensor, extra: dict[str, Tensor], targets: Targets
) -> dict[str, dict[str, float]]:
    scores = dict(extra)
    for level in head.taxonomy.levels:
        scores[level] = head.level_scores(leaf_scores, level)
    result = {}
    for task, values in scores.items():
        known = (targets.classes[task] != MISSING) & torch.isfinite(values).all(dim=1)
        if bool(known.any()):
            right = values[known].argmax(dim=1) == targets.classes[task][known]
            result[task] = {"accuracy": float(right.float().mean()), "n": int(known.sum())}
    return result
