"""When more labels stop paying: what the next labels should add, from the curve so far. No torch.

The error of a level falls about as a power of the labels (Hestness et al. 2017):
err(L) = a + b·L^(−c). For each c of a grid a and b are a weighted least-squares fit, whose gain is
normal; the grid's fits are averaged by their likelihood. That keeps the interval honest where the
curve is flat and c could be anything.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

MIN_POINTS = 4
AHEAD = 100
PAYS = 0.005
POWERS = np.linspace(0.1, 1.5, 15)
QUANTILES = norm.ppf((np.arange(199) + 0.5) / 199)


@dataclass(frozen=True)
class Measured:
    """One point of a curve: labels trained on, accuracy in [0, 1], audit labels behind it."""

    labels: int
    accuracy: float
    n: int


@dataclass(frozen=True)
class Forecast:
    """What the next labels should add at one level.

    Attributes:
        state: "pays" (half a point or more is expected), "stopped" (even the upper end is below
            that), "unclear" (expected below, possible above), or "too_few_rounds".
        gain: expected change of accuracy, in [0, 1]; None without a forecast.
        low: lower end of its 95% interval, never below 0.
        high: upper end.
        ahead: for so many more labels.
    """

    state: str
    gain: float | None
    low: float | None
    high: float | None
    ahead: int = AHEAD

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def forecast(curve: Sequence[Measured], *, ahead: int = AHEAD) -> Forecast:
    """The gain of the next `ahead` labels at one level.

    Args:
        curve: measurements in any order; those at the same number of labels count once, the last.
        ahead: labels, 1 or more.
    """
    at = {one.labels: one for one in curve if one.n > 0}
    points = [at[count] for count in sorted(at)]
    if len(points) < MIN_POINTS:
        return Forecast("too_few_rounds", None, None, None, ahead)
    labels = np.array([one.labels for one in points], dtype=float)
    error = np.array([1 - one.accuracy for one in points])
    n = np.array([one.n for one in points], dtype=float)
    # Agresti's two successes and failures keep the spread of a perfect score above zero
    share = (error * n + 2) / (n + 4)
    gains, weights = _gains(labels, error, np.sqrt(share * (1 - share) / n), ahead)
    order = np.argsort(gains)
    reached = np.cumsum(weights[order])
    low, high = (float(gains[order][np.searchsorted(reached, q)]) for q in (0.025, 0.975))
    gain = float(gains @ weights)
    state = "stopped" if high < PAYS else "pays" if gain >= PAYS else "unclear"
    return Forecast(state, gain, low, high, ahead)


def _gains(
    labels: NDArray[np.float64],
    error: NDArray[np.float64],
    spread: NDArray[np.float64],
    ahead: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values the gain may have and their weights, which sum to 1."""
    gains, log_likelihood = [], []
    for power in POWERS:
        falling = labels**-power
        design = np.stack([np.ones_like(labels), falling], axis=1) / spread[:, None]
        covariance = np.linalg.inv(design.T @ design)
        floor, scale = covariance @ design.T @ (error / spread)
        fall = labels[-1] ** -power - (labels[-1] + ahead) ** -power
        drawn = scale * fall + QUANTILES * np.sqrt(covariance[1, 1]) * fall
        gains.append(np.clip(drawn, 0, 1))  # more labels do no harm on average
        residual = (error - floor - scale * falling) / spread
        log_likelihood.append(-0.5 * float(residual @ residual))
    weights = np.exp(np.array(log_likelihood) - max(log_likelihood))
    each = np.repeat(weights / weights.sum() / len(QUANTILES), len(QUANTILES))
    return np.concatenate(gains), each
