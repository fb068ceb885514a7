"""Labels that are probably wrong: confident learning (Northcutt, Jiang & Chuang 2021, 1911.00068).

With p̂_j(x) the out-of-fold probability of class j and ỹ the given label:

    t_j = mean of p̂_j(x) over the x with ỹ = j
    C_ij = #{x : ỹ = i, p̂_j(x) ≥ t_j, and j has the largest p̂ of the classes that reach their t}

An x off the diagonal of C is a probable error, its label i, its suggestion j. Errors are ranked by
the margin p̂_j(x) − p̂_i(x), the largest first. How many errors there are at all is estimated from
C calibrated to the number of labels of each class: Σ_i |X_i| · (1 − C_ii / Σ_j C_ij).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suspects:
    """Probable label errors, the most probable first.

    Attributes:
        rows: (E,) which of the n labels.
        suggested: (E,) class index that the label should probably be.
        margins: (E,) p̂ of the suggestion minus p̂ of the given label, in [-1, 1].
        estimate: how many of the n labels are wrong, by the calibrated joint.
    """

    rows: NDArray[np.intp]
    suggested: NDArray[np.int64]
    margins: NDArray[np.float64]
    estimate: float


def thresholds(probs: NDArray[np.floating], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,) t_j; infinite for a class that no label names, so that it is never suggested."""
    found: NDArray[np.float64] = np.full(probs.shape[1], np.inf)
    for index in np.unique(given):
        found[index] = float(probs[given == index, index].mean(dtype=np.float64))
    return found


def suspects(probs: NDArray[np.floating], given: NDArray[np.int64]) -> Suspects:
    """The probable errors among n labels.

    Args:
        probs: (n, K) out-of-fold probabilities, finite, rows sum to 1.
        given: (n,) class index of each label.
    """
    size = probs.shape[1]
    wide = probs.astype(np.float64)
    reached = np.where(wide >= thresholds(wide, given), wide, -np.inf)
    confident = np.isfinite(reached).any(axis=1)
    suggested = reached.argmax(axis=1).astype(np.int64)
    cells = given[confident] * size + suggested[confident]
    joint = np.bincount(cells, minlength=size**2).reshape(size, size)
    rows = np.flatnonzero(confident & (suggested != given))
    margins = wide[rows, suggested[rows]] - wide[rows, given[rows]]
    order = np.argsort(-margins, kind="stable")
    rows = rows[order]
    return Suspects(rows, suggested[rows], margins[order], _estimate(joint, given))


def _estimate(joint: NDArray[np.int64], given: NDArray[np.int64]) -> float:
    sizes = np.bincount(given, minlength=len(joint))
    totals = joint.sum(axis=1)
    wrong = (totals - joint.diagonal()) / np.maximum(totals, 1)
    return float((sizes * wrong).sum())
