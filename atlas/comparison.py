"""What a simulation says: who needs fewer labels, by how much, and how sure that is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_rel

from atlas.curves import band, half_width

BASELINE = "random"
RESAMPLES = 2000
Runs = list[dict[str, Any]]


def area_under_curve(run: dict[str, Any], level: str) -> float:
    """Normalised area under the accuracy curve over labels, in [0, 1]: the mean accuracy."""
    labels = np.array([point["labels"] for point in run["points"]], dtype=float)
    values = np.array([point["accuracy"][level] for point in run["points"]])
    if len(labels) == 1:
        return float(values[0])
    return float(np.trapezoid(values, labels) / (labels[-1] - labels[0]))


def labels_to_reach(labels: list[int], accuracy: list[float], target: float) -> float:
    """Labels at which a curve first reaches `target`, between points by a line; inf if never."""
    for i, value in enumerate(accuracy):
        if value >= target:
            if i == 0:
                return float(labels[0])
            share = (target - accuracy[i - 1]) / (value - accuracy[i - 1])
            return labels[i - 1] + share * (labels[i] - labels[i - 1])
    return float("inf")


def compare(content: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Sampler → level → figures over its seeds.

    "accuracy", "accuracy_half": mean at the last shared number of labels and half of its 95%
    interval. "area", "area_half": normalised area under the curve. And, where "random" was run with
    the same seeds: "labels": labels until the mean curve reaches what random reaches at the end
    (inf: never), "labels_low", "labels_high": its 95% bootstrap interval over seeds; "gain": area
    minus random's; "p": of the paired t-test of the areas, two-sided (NaN with fewer than 2 seeds).
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    baseline = content["samplers"].get(BASELINE)
    for name, runs in content["samplers"].items():
        result[name] = {}
        for level in content["levels"]:
            figures = _alone(runs, level)
            if baseline and name != BASELINE:
                figures |= _against(runs, baseline, level)
            result[name][level] = figures
    return result


def _alone(runs: Runs, level: str) -> dict[str, float]:
    _, means, halves = band(runs, level)
    areas = [area_under_curve(run, level) for run in runs]
    return {
        "accuracy": means[-1],
        "accuracy_half": halves[-1],
        "area": float(np.mean(areas)),
        "area_half": half_width(areas),
    }


def _against(runs: Runs, baseline: Runs, level: str) -> dict[str, float]:
    by_seed = {run["seed"]: run for run in baseline}
    pairs = [(run, by_seed[run["seed"]]) for run in runs if run["seed"] in by_seed]
    areas = np.array([[area_under_curve(run, level) for run in pair] for pair in pairs])
    p = float(ttest_rel(areas[:, 0], areas[:, 1]).pvalue) if len(pairs) > 1 else float("nan")
    labels, ours = _matrix([a for a, _ in pairs], level)
    _, theirs = _matrix([b for _, b in pairs], level)
    rng = np.random.default_rng(0)
    picks = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    found = [
        labels_to_reach(labels, list(ours[pick].mean(axis=0)), float(theirs[pick, -1].mean()))
        for pick in picks
    ]
    reached = labels_to_reach(labels, list(ours.mean(axis=0)), float(theirs[:, -1].mean()))
    low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")
    return {
        "labels": reached,
        "labels_low": float(low),
        "labels_high": float(high),
        "gain": float((areas[:, 0] - areas[:, 1]).mean()),
        "p": p,
    }


def _matrix(runs: Runs, level: str) -> tuple[list[int], NDArray[np.float64]]:
    """Shared numbers of labels, and (runs, numbers) accuracies."""
    shared, _, _ = band(runs, level)
    rows = [[p["accuracy"][level] for p in run["points"] if p["labels"] in shared] for run in runs]
    return shared, np.array(rows)


def markdown_table(content: dict[str, Any]) -> str:
    """A row a sampler and level: accuracy along the way, area, labels to reach random, test."""
    names = list(content["samplers"])
    shared, _, _ = band(content["samplers"][names[0]], content["levels"][-1])
    picks = sorted({shared[round(i)] for i in np.linspace(0, len(shared) - 1, min(5, len(shared)))})
    figures = compare(content)
    budget = shared[-1]
    lines = [
        f"| sampler | level | seeds | {' | '.join(f'{labels} labels' for labels in picks)} | "
        f"area | labels to reach random at {budget} | area − random, p |",
        f"|---|---|{'---:|' * (len(picks) + 4)}",
    ]
    for name in names:
        for level in content["levels"]:
            labels, means, halves = band(content["samplers"][name], level)
            cells = {
                at: f"{mean:.1%} ± {half * 100:.1f}"
                for at, mean, half in zip(labels, means, halves, strict=True)
            }
            row = " | ".join(cells.get(at, "–") for at in picks)
            own = figures[name][level]
            area = f"{own['area']:.1%} ± {own['area_half'] * 100:.1f}"
            shown = name.replace("|", "\\|")
            seeds = len(content["samplers"][name])
            beginning = f"| {shown} | {level} | {seeds} | {row}"
            lines.append(f"{beginning} | {area} | {_reach(own)} | {_test(own)} |")
    return "\n".join(lines)


def _reach(figures: dict[str, float]) -> str:
    if "labels" not in figures:
        return "–"
    if not np.isfinite(figures["labels"]):
        return "not reached"
    high = figures["labels_high"]
    upper = f"{high:.0f}" if np.isfinite(high) else "more"
    return f"{figures['labels']:.0f} ({figures['labels_low']:.0f}–{upper})"


def _test(figures: dict[str, float]) -> str:
    if "p" not in figures:
        return "–"
    p = figures["p"]
    said = "p unknown" if np.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{figures['gain'] * 100:+.1f} points, {said}"
