"""How many images the model may answer alone: those it is surest of, and how many it gets right.

Selective prediction (Geifman & El-Yaniv 2017): a threshold on the probability of the best class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.analysis.intervals import wilson_bounds


@dataclass(frozen=True)
class Automated:
    """What happens at each of T thresholds.

    Attributes:
        thresholds: (T,) least probability of an image that the model answers, in [0, 1].
        covered: (T,) images answered.
        correct: (T,) of these right.
        low: (T,) lower end of the interval of correct / covered; NaN where none is covered.
        high: (T,) upper end.
        n: images in all.
    """

    thresholds: NDArray[np.float64]
    covered: NDArray[np.int64]
    correct: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: int

    def at(self, index: int) -> dict[str, Any]:
        """{"threshold", "coverage", "accuracy", "low", "high", "n"} of one threshold.

        `n` is how many images are covered; accuracy and interval are None where none is.
        """
        covered = int(self.covered[index])
        told = {
            "threshold": float(self.thresholds[index]),
            "coverage": covered / self.n if self.n else None,
            "n": covered,
        }
        if not covered:
            return {**told, "accuracy": None, "low": None, "high": None}
        accuracy = int(self.correct[index]) / covered
        ends = {"low": float(self.low[index]), "high": float(self.high[index])}
        return {**told, "accuracy": accuracy, **ends}


def automated(
    sure: NDArray[np.float64], right: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> Automated:
    """What happens at each threshold.

    Args:
        sure: (N,) probability of the predicted class.
        right: (N,) whether it was right.
        thresholds: (T,) in [0, 1].
    """
    order = np.argsort(-sure, kind="stable")
    covered = np.searchsorted(-sure[order], -thresholds, side="right").astype(np.int64)
    rights = np.concatenate([[0], np.cumsum(right[order])]).astype(np.int64)
    correct = rights[covered]
    return Automated(thresholds, covered, correct, *wilson_bounds(correct, covered), len(sure))


def most_at(
    sure: NDArray[np.float64],
    right: NDArray[np.bool_],
    *,
    target: float,
    surely: bool,
    least: int = 1,
) -> dict[str, Any] | None:
    """The most images that can be answered alone at a wanted accuracy; None where none can.

    The threshold is chosen on the images that it is measured on, so with few of them the share
    that is right of new ones will be a little lower.

    Args:
        sure: (N,) probability of the predicted class.
        right: (N,) whether it was right.
        target: wanted accuracy, in (0, 1).
        surely: the lower end of the interval must reach the target, not the estimate alone.
        least: images that have to be covered, so that a handful promises nothing.

    Returns:
        As `Automated.at`.
    """
    found = automated(sure, right, np.unique(sure)[::-1])
    reached = found.low if surely else found.correct / np.maximum(found.covered, 1)
    good = np.flatnonzero((reached >= target) & (found.covered >= least))
    return found.at(int(good[-1])) if len(good) else None
