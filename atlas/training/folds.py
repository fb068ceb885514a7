"""Cross-validation heads, and what they say of the labels they never saw."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from atlas.heads import Head
from atlas.losses import MISSING, Targets
from atlas.settings import HeadSettings
from atlas.training.optimise import new_head, optimise
from atlas.training.uda_heads import ViewRows

MIN_PER_FOLD = 2


@dataclass(frozen=True)
class Folds:
    """Cross-validation heads; none where there are too few labels for folds.

    Attributes:
        heads: K heads, each trained on the labels of the other folds.
        of_row: (N,) int64, which of them never saw the row.
    """

    heads: tuple[Head, ...]
    of_row: NDArray[np.int64]


@dataclass(frozen=True)
class OutOfFold:
    """What the heads say of rows they never saw; NaN where there are too few rows for folds.

    Attributes:
        leaves: (N, n_leaves) leaf scores.
        attributes: attribute → (N, K) logits.
        numbers: quantity → (N,) in its own unit.
        familiar: (N,) bool, whether the row's class was among the other folds' labels. A class that
            was not gets a score of almost nothing, which says nothing of calibration and would set
            the temperature alone where labels are few.
    """

    leaves: Tensor
    attributes: dict[str, Tensor]
    numbers: dict[str, Tensor]
    familiar: Tensor


def draw_folds(rows: int, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(rows,) fold of each row, at random and as equal in size as can be."""
    return rng.permutation(np.arange(rows) % folds)


def fit_folds(
    x: Tensor,
    targets: Targets,
    like: Head,
    settings: HeadSettings,
    rng: np.random.Generator,
    *,
    views: ViewRows | None = None,
) -> Folds:
    """A head a fold, trained on all others.

    Args:
        x: standardised (N, D).
        targets: N labels.
        like: a head of the same kind, for its taxonomy and moments.
        settings: see `optimise`.
        rng: draws the folds.
        views: see `optimise`; of a fold's own images none is seen.
    """
    rows = len(x)
    if rows < MIN_PER_FOLD * settings.folds:
        return Folds((), np.zeros(0, dtype=np.int64))
    of_row = draw_folds(rows, settings.folds, rng)
    heads = []
    for number in range(settings.folds):
        head = new_head(x.shape[1], like.taxonomy, settings, (like.mean, like.std))
        others = torch.from_numpy(of_row != number)
        seen = None if views is None else views.of(others)
        optimise(head, x[others], targets[others], settings, rng, views=seen)
        heads.append(head.eval())
    return Folds(tuple(heads), of_row)


def out_of_fold(x: Tensor, targets: Targets, like: Head, folds: Folds) -> OutOfFold:
    """Scores of each row from a head that never saw it."""
    rows, taxonomy = len(x), like.taxonomy
    found = OutOfFold(
        torch.full((rows, len(taxonomy.leaves)), torch.nan),
        {name: torch.full((rows, len(k)), torch.nan) for name, k in taxonomy.attributes.items()},
        {name: torch.full((rows,), torch.nan) for name in taxonomy.quantities},
        torch.zeros(rows, dtype=torch.bool),
    )
    for number, head in enumerate(folds.heads):
        out = torch.from_numpy(folds.of_row == number)
        seen = targets.under[~out].any(dim=0)
        found.familiar[out] = (targets.under[out] & seen).any(dim=1)
        with torch.inference_mode():
            found.leaves[out] = head.leaf_scores(x[out])
            scores = head.scores(x[out])
            for name, logits in found.attributes.items():
                logits[out] = scores[name]
            for i, (name, values) in enumerate(found.numbers.items()):
                values[out] = scores[name][:, 0] * head.number_std[i] + head.number_mean[i]
    return found


def report(like: Head, found: OutOfFold, targets: Targets) -> dict[str, dict[str, float]]:
    """Task → how good the predictions were, and over how many labels ("n").

    "accuracy" in [0, 1] of a level or attribute; "mean_absolute_error" of a quantity, in its unit.
    """
    scores = dict(found.attributes)
    for level in like.taxonomy.levels:
        scores[level] = like.level_scores(found.leaves, level)
    result = {}
    for task, values in scores.items():
        known = (targets.classes[task] != MISSING) & torch.isfinite(values).all(dim=1)
        if bool(known.any()):
            right = values[known].argmax(dim=1) == targets.classes[task][known]
            result[task] = {"accuracy": float(right.float().mean()), "n": int(known.sum())}
    for task, values in found.numbers.items():
        apart = (values - targets.numbers[task]).abs()
        known = torch.isfinite(apart)
        if bool(known.any()):
            error = float(apart[known].double().mean())
            result[task] = {"mean_absolute_error": error, "n": int(known.sum())}
    return result
