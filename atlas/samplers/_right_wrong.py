"""What the active-transfer samplers share: a head that tells wrong predictions from right ones."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from atlas.samplers import check_finite, torn_between
from atlas.samplers._linear import Linear, Scale, fit, log_odds
from atlas.samplers._reading import chunks
from atlas.types import UNKNOWN, Candidates, Rows

REFERENCE = 4096  # pool rows whose mean and spread scale the features


@dataclass(frozen=True)
class Lessons:
    """Judged predictions: what a right/wrong head learns from.

    Attributes:
        rows: (n, D) scaled bottlenecks.
        wrong: (n,) whether the model was wrong there.
        scale: of `rows`; fixed, however many rows are added.
    """

    rows: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    scale: Scale

    def train(self, start: Linear | None = None) -> Linear:
        """A head that gives the log odds of a wrong prediction.

        The penalty is D: before any lesson the D scaled features together then move the log odds
        by about 1. From a third to 30 times that, CIFAR-10's mistakes are ranked alike.

        Every row weighs 1, however few the mistakes: that alone promises that a row which is added
        as right is not thought wrong more than before.
        """
        return fit(self.rows, self.wrong, l2=float(self.rows.shape[1]), start=start)

    def chance_wrong(self, bottlenecks: Rows, head: Linear) -> NDArray[np.float64]:
        """(N,) P(wrong) in [0, 1] of the model's prediction on each bottleneck."""
        odds = log_odds(bottlenecks, [head], self.scale)[:, 0]
        result: NDArray[np.float64] = expit(odds.astype(np.float64))
        return result

    def and_right(self, bottlenecks: NDArray[np.floating]) -> "Lessons":
        """These and (n, D) more, on which the model is taken to be right."""
        return replace(
            self,
            rows=np.concatenate([self.rows, self.scale(bottlenecks)]),
            wrong=np.append(self.wrong, np.zeros(len(bottlenecks), dtype=bool)),
        )


def lessons(candidates: Candidates, level: str) -> Lessons | str:
    """The labelled images with a known class and an out-of-fold prediction; or why they won't do.

    Raises:
        NonFiniteScores: the model's probabilities at `level` are damaged, so that the mistakes of
            its folds say nothing of it.
    """
    _check_model(candidates, level)
    probs = candidates.labelled_probs.get(level)
    if probs is None or np.isnan(probs).any(axis=1).all():
        return "no out-of-fold predictions yet"
    truth = candidates.labelled_classes[level]
    judged = np.flatnonzero((truth != UNKNOWN) & ~np.isnan(probs).any(axis=1))
    wrong = probs[judged].argmax(axis=1) != truth[judged]
    if not wrong.any():
        return "no mistakes to learn from"
    if wrong.all():
        return "no right predictions to tell mistakes from"
    labelled = candidates.labelled[judged]
    scale = Scale.of(labelled, candidates.bottlenecks[_spread_out(len(candidates.ids))])
    return Lessons(scale(labelled), wrong, scale)


def why(
    candidates: Candidates,
    level: str,
    positions: NDArray[np.intp],
    chances: NDArray[np.floating],
) -> list[str]:
    """ "probably wrong (0.83), like earlier mistakes: between cat and dog 0.41/0.39"."""
    torn = torn_between(candidates, level, positions)
    return [
        f"{'probably' if chance >= 0.5 else 'perhaps'} wrong ({chance:.2f}), "
        f"like earlier mistakes: {guess}"
        for chance, guess in zip(chances, torn, strict=True)
    ]


def _spread_out(total: int) -> NDArray[np.intp]:
    """Evenly spaced positions, without chance: an image's score is the same for every seed."""
    return np.linspace(0, total - 1, min(total, REFERENCE)).astype(np.intp)


def _check_model(candidates: Candidates, level: str) -> None:
    probs = candidates.probs[level]
    sums = np.empty(len(probs), dtype=np.float32)
    for part in chunks(len(probs)):
        sums[part] = probs[part].sum(axis=1)
    check_finite(sums, candidates.ids)
