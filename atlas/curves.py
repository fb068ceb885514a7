"""Learning curves of a simulation: a picture and a table."""

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from scipy.stats import t as student

from atlas.report import COLOURS

CONFIDENCE = 0.95
LOGARITHMIC_FROM = 20  # times the first number of labels


def band(runs: list[dict[str, Any]], level: str) -> tuple[list[int], list[float], list[float]]:
    """Labels, mean accuracy over seeds and half the width of its 95% t interval.

    Only the numbers of labels that every seed reached are in it; with one seed the width is 0.
    """
    by_labels: dict[int, list[float]] = {}
    for run in runs:
        for point in run["points"]:
            value = point["accuracy"].get(level)
            if value is not None:
                by_labels.setdefault(point["labels"], []).append(value)
    shared = sorted(labels for labels, found in by_labels.items() if len(found) == len(runs))
    means = [float(np.mean(by_labels[labels])) for labels in shared]
    return shared, means, [half_width(by_labels[labels]) for labels in shared]


def half_width(values: list[float]) -> float:
    """Half the width of the 95% t interval of a mean; 0 with one value."""
    n = len(values)
    if n < 2:
        return 0.0
    factor = float(student.ppf((1 + CONFIDENCE) / 2, n - 1))
    return float(np.std(values, ddof=1) * factor / np.sqrt(n))


def draw_curves(content: dict[str, Any]) -> bytes:
    """One panel a level, one line a sampler with its band, as PNG bytes."""
    levels = content["levels"]
    figure = Figure(figsize=(4.6 * len(levels), 4.2), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(levels), squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        for number, (name, runs) in enumerate(content["samplers"].items()):
            labels, means, halves = band(runs, level)
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(labels, means, "o-", markersize=3, color=colour, label=name)
            low, high = np.subtract(means, halves), np.add(means, halves)
            axes.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=level, xlabel="labels")
        _spread_out(axes)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel("accuracy on the held-out images")
    panels[0].legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _spread_out(axes: Axes) -> None:
    """Labels by their logarithm where they reach far: most happens at the beginning."""
    positions = [at for line in axes.lines for at in np.asarray(line.get_xdata())]
    if max(positions) >= LOGARITHMIC_FROM * min(positions):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xticks(sorted(set(positions))[::2], minor=False)
        axes.minorticks_off()
