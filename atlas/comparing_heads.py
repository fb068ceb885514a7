"""Which head and balancer suit the labels there are: cross-validation of all, on the same folds.

Beside each stands the single-task head of its kind, trained on one task alone: what is lost against
it is negative transfer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
import torch

from atlas.errors import SettingsError, TrainingError
from atlas.losses import encode
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.train import TrainingData
from atlas.training.folds import MIN_PER_FOLD, draw_folds
from atlas.training.optimise import new_balancer, new_head
from atlas.training.trials import Examples, Trial, try_alone, try_out

CONFIDENCE = 0.95
DEFAULT = ("tree", "uniform")
Pair = tuple[str, str]
Progress = Callable[[int, int], None]
Interval = dict[str, float | None]


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Attributes:
        heads: names.
        balancers: names; each is tried with each head.
        folds: K, of which each is left out once.
        repeats: how often the folds are drawn anew.
    """

    heads: tuple[str, ...]
    balancers: tuple[str, ...]
    folds: int = 5
    repeats: int = 3


def compare_heads(
    data: TrainingData,
    taxonomy: Taxonomy,
    settings: HeadSettings,
    plan: Plan,
    *,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Cross-validate every head with every balancer, and each head on each task alone.

    Args:
        data: the labelled images.
        taxonomy: what is predicted.
        settings: the method, the steps, and arguments for the head and the balancer that it names.
        plan: what to compare.
        seed: draws the folds, the same for all, and batches.
        progress: called with fits done and fits in all.

    Returns:
        {"labels", "folds", "repeats", "tasks": {task: labels}, "combinations": [{"head",
        "balancer", "parameters", "seconds": of a fit, "mean": interval over tasks, "tasks": {task:
        {"score": interval, "transfer": interval, "error": of a quantity}}}], "impossible":
        [{"head", "balancer", "reason"}], "winner": {"head", "balancer", "reason"}}. For intervals
        see `interval`, for scores `Trial`. Transfer is the score minus the single-task head's:
        below 0 where learning together does harm.

    Raises:
        TrainingError: fewer than two labels a fold, or none that a head could be measured by.
        PluginError: an unknown head or balancer.
        SettingsError: no combination is possible.
    """
    rng = np.random.default_rng([seed, len(data.labels)])
    needed = MIN_PER_FOLD * plan.folds
    if len(data.labels) < needed:
        raise TrainingError(
            f"{len(data.labels)} labels for {plan.folds} folds; needed are {needed}, "
            f"{MIN_PER_FOLD} a fold: label more images, or ask for fewer --folds"
        )
    rows = torch.from_numpy(np.asarray(data.rows[:], dtype=np.float32))
    examples = Examples(rows, encode(data.labels, taxonomy), taxonomy, data.moments(rng))
    possible, impossible = _combinations(examples, settings, plan)
    runs = _Runs(possible, tuple(examples.labels()))
    runs.do(_splits(examples, plan, seed), plan.folds * plan.repeats, progress)
    if not any(runs.means(pair) for pair in possible):
        raise TrainingError(_nothing_to_measure_by(examples))
    rows_of = [runs.row(pair, examples, plan.folds) for pair in possible]
    best, reason = choose({pair: runs.means(pair) for pair in possible}, rows_of, plan.folds)
    return {
        "labels": len(examples),
        "folds": plan.folds,
        "repeats": plan.repeats,
        "tasks": examples.labels(),
        "combinations": rows_of,
        "impossible": impossible,
        "winner": {"head": best[0], "balancer": best[1], "reason": reason},
    }


def _combinations(
    examples: Examples, settings: HeadSettings, plan: Plan
) -> tuple[dict[Pair, HeadSettings], list[dict[str, str]]]:
    """Those that can be, with their settings, and those that cannot, with the reason."""
    possible: dict[Pair, HeadSettings] = {}
    impossible = []
    for head in plan.heads:
        for balancer in plan.balancers:
            changes = {
                "name": head,
                "args": settings.args if head == settings.name else {},
                "balancer": balancer,
                "balancer_args": settings.balancer_args if balancer == settings.balancer else {},
            }
            chosen = settings.model_copy(update=changes)
            try:
                _check(examples, chosen)
            except SettingsError as error:
                impossible.append({"head": head, "balancer": balancer, "reason": str(error)})
            else:
                possible[head, balancer] = chosen
    if not possible:
        reasons = "; ".join(sorted({one["reason"] for one in impossible}))
        raise SettingsError(f"nothing to compare: {reasons}")
    return possible, impossible


def _check(examples: Examples, settings: HeadSettings) -> None:
    if settings.balancer == "fixed" and not settings.balancer_args:
        raise SettingsError(
            "fixed is uniform while there are no weights; set head.balancer and head.balancer_args"
        )
    features = examples.bottlenecks.shape[1]
    new_balancer(new_head(features, examples.taxonomy, settings, examples.moments), settings)


def _nothing_to_measure_by(examples: Examples) -> str:
    found = ", ".join(f"{task}: {labels}" for task, labels in examples.labels().items())
    return (
        f"no head can be measured on these labels ({found or 'of no task'}): a task needs "
        "labels in two folds, and a quantity numbers that are not all the same; label more images"
    )


def _splits(
    examples: Examples, plan: Plan, seed: int
) -> Iterator[tuple[Examples, Examples, NDArray[np.uint32]]]:
    """Training and test images of every fold of every repeat, and a seed for batches."""
    for repeat in range(plan.repeats):
        of_row = draw_folds(len(examples), plan.folds, np.random.default_rng([seed, repeat]))
        for fold in range(plan.folds):
            out = torch.from_numpy(of_row == fold)
            yield examples[~out], examples[out], np.array([seed, repeat, fold], dtype=np.uint32)


class _Runs:
    """All trials: of each combination, and of each of its heads on each task alone."""

    def __init__(self, possible: Mapping[Pair, HeadSettings], tasks: tuple[str, ...]) -> None:
        self._possible = possible
        self._tasks = tasks
        # what a head is told is the same with every balancer
        self._heads = {head: settings for (head, _), settings in possible.items()}
        self._together: dict[Pair, list[Trial]] = {pair: [] for pair in possible}
        self._alone: dict[Pair, list[Trial]] = {
            (head, task): [] for head in self._heads for task in tasks
        }

    def do(
        self,
        splits: Iterator[tuple[Examples, Examples, NDArray[np.uint32]]],
        number: int,
        progress: Progress | None,
    ) -> None:
        fits = len(self._together) + len(self._alone)
        done = 0
        for train, test, seed in splits:
            for trial, kept in self._trials(train, test, seed):
                kept.append(trial)
                done += 1
                if progress is not None:
                    progress(done, fits * number)

    def _trials(
        self, train: Examples, test: Examples, seed: NDArray[np.uint32]
    ) -> Iterator[tuple[Trial, list[Trial]]]:
        for pair, settings in self._possible.items():
            rng = np.random.default_rng(seed)
            yield try_out(train, test, settings, rng), self._together[pair]
        for (head, task), kept in self._alone.items():
            yield try_alone(train, test, task, self._heads[head]), kept

    def means(self, pair: Pair) -> list[float]:
        """A fold's mean score over the tasks it has labels of, for each fold that has any."""
        return [fmean(one.scores.values()) for one in self._together[pair] if one.scores]

    def row(self, pair: Pair, examples: Examples, folds: int) -> dict[str, Any]:
        trials = self._together[pair]
        head = new_head(
            examples.bottlenecks.shape[1],
            examples.taxonomy,
            self._possible[pair],
            examples.moments,
        )
        return {
            "head": pair[0],
            "balancer": pair[1],
            "parameters": sum(parameter.numel() for parameter in head.parameters()),
            "seconds": fmean(trial.seconds for trial in trials),
            "mean": interval(self.means(pair), folds),
            "tasks": {task: self._task(pair, task, folds) for task in self._tasks},
        }

    def _task(self, pair: Pair, task: str, folds: int) -> dict[str, Any]:
        trials, alone = self._together[pair], self._alone[pair[0], task]
        scores = [one.scores[task] for one in trials if task in one.scores]
        gains = [
            ours.scores[task] - theirs.scores[task]
            for ours, theirs in zip(trials, alone, strict=True)
            if task in ours.scores and task in theirs.scores
        ]
        found: dict[str, Any] = {
            "score": interval(scores, folds),
            "transfer": interval(gains, folds),
        }
        errors = [one.errors[task] for one in trials if task in one.errors]
        if errors:
            found["error"] = fmean(errors)
        return found


def interval(values: Sequence[float], folds: int) -> Interval:
    """Mean and 95% interval over repeated folds; None where there are too few.

    The folds' training images overlap, so their scores vary together and a plain t interval is too
    narrow. The variance is taken times 1/J + 1/(K − 1) for J scores of K folds instead of 1/J
    (Nadeau and Bengio 2003).
    """
    if not values:
        return {"mean": None, "low": None, "high": None}
    mean = fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * _error(values, folds)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def choose(
    means: Mapping[Pair, Sequence[float]], rows: Sequence[Mapping[str, Any]], folds: int
) -> tuple[Pair, str]:
    """The combination to take, and why.

    The best mean over tasks wins; but one that is behind it by no more than a standard error of
    their difference, fold by fold, is as good. Of those the default (tree, uniform) is taken; if it
    is none of them, the fewest parameters, then uniform weights, then the fastest.

    Args:
        means: head and balancer → mean score over tasks of each fold.
        rows: a row a combination, see `compare_heads`.
        folds: K.
    """
    best = max(means, key=lambda pair: fmean(means[pair]))
    as_good = []
    for row in rows:
        pair = (row["head"], row["balancer"])
        behind = np.subtract(means[best], means[pair])
        if pair == best or behind.mean() <= _error(behind.tolist(), folds):
            simple = (pair != DEFAULT, row["parameters"], pair[1] != DEFAULT[1], row["seconds"])
            as_good.append((simple, pair))
    chosen = min(as_good)[1]
    if chosen == best:
        return chosen, "best mean over tasks"
    behind_by = fmean(means[best]) - fmean(means[chosen])
    return chosen, (
        f"simpler than {best[0]} with {best[1]} and as good: {100 * behind_by:.1f} points behind, "
        "within a standard error"
    )


def _error(values: Sequence[float], folds: int) -> float:
    """The standard error of the mean, corrected as `interval` says; 0 with one value."""
    if len(values) < 2:
        return 0.0
    return float(np.std(values, ddof=1) * np.sqrt(1 / len(values) + 1 / (folds - 1)))
