"""Whether a candidate may take the place of the model that answers now.

Both are asked about the same labelled images, which neither was trained on. The test is McNemar's
in its exact form (McNemar 1947): of the images on which just one of the two is right, the candidate
is right on half by chance.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images, at one task.

    Attributes:
        n: images.
        present: accuracy of the model that answers now, [0, 1]; NaN with n = 0.
        candidate: accuracy of the other.
        gained: images on which the candidate alone is right.
        lost: images on which the present model alone is right.
        p: of so many gained or more, were both as good.
    """

    n: int
    present: float
    candidate: float
    gained: int
    lost: int
    p: float


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate is promoted, why, and what it rests on."""

    promoted: bool
    reason: str
    tasks: dict[str, Comparison]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(
    present: Mapping[str, NDArray[np.bool_]],
    candidate: Mapping[str, NDArray[np.bool_]],
    *,
    p_below: float,
) -> Verdict:
    """Promote where no task is worse and one is better beyond chance.

    Args:
        present: task → (n,) whether the model that answers now is right on each image.
        candidate: the same of the candidate, about the same images.
        p_below: what p has to be below at one task, in (0, 1).
    """
    tasks = {task: compare(present[task], candidate[task]) for task in present}
    worse = [task for task, one in tasks.items() if one.lost > one.gained]
    better = [task for task, one in tasks.items() if one.gained > one.lost and one.p < p_below]
    if worse:
        told = ", ".join(f"{task} {_change(tasks[task])}" for task in worse)
        return Verdict(False, f"worse at {told}", tasks)
    if not better:
        closest = min(tasks, key=lambda task: tasks[task].p)
        one = tasks[closest]
        said = f"{closest} {_change(one)} of {one.n} images, p = {one.p:.2f}"
        return Verdict(False, f"no level is better beyond chance ({said})", tasks)
    told = ", ".join(f"{task} {_change(tasks[task])}" for task in better)
    return Verdict(True, f"better at {told}, worse at none", tasks)


def compare(present: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> Comparison:
    """Two (n,) arrays of right or wrong about the same images."""
    n = len(present)
    gained = int((candidate & ~present).sum())
    lost = int((present & ~candidate).sum())
    if n == 0:
        return Comparison(0, float("nan"), float("nan"), 0, 0, 1.0)
    p = mcnemar(gained, lost)
    return Comparison(n, float(present.mean()), float(candidate.mean()), gained, lost, p)


def mcnemar(gained: int, lost: int, *, either_way: bool = False) -> float:
    """How likely so many gained or more are, were both sets of answers as good; in [0, 1].

    Args:
        gained: images on which the second alone is right.
        lost: images on which the first alone is right.
        either_way: that there are so many more on one of the two sides, whichever it is.
    """
    if gained + lost == 0:
        return 1.0
    side = "two-sided" if either_way else "greater"
    return float(binomtest(gained, gained + lost, alternative=side).pvalue)


def _change(one: Comparison) -> str:
    return f"{one.present:.1%} → {one.candidate:.1%}"
