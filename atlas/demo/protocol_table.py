"""What the four-week protocol found, beside the reference, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import ttest_rel

from atlas.curves import half_width
from atlas.demo.spectrogram import LEVELS

REFERENCE: dict[int, dict[str, float]] = {
    2: {"fixture": 0.82, "category": 0.87},
    3: {"valve": 0.80, "fixture": 0.87, "category": 0.92},
    4: {"valve": 0.81, "fixture": 0.89, "category": 0.93},
}
NONE = "–"
COLUMNS = ("arm", "week", "labels", *LEVELS, "levels shown", "events shown", "right of them")

SHORT_COLUMNS = ("week", "labels", *LEVELS, "homes shown it")

Runs = list[dict[str, Any]]


def summary(content: dict[str, Any]) -> dict[str, Any]:
    """The figures of the tables.

    Returns:
        {"arms": {name: [a week: {"week", "labels": [fewest, median, most], "accuracy": {level:
        [mean over homes, half of its 95% t interval]}, "shown": {level: share of homes},
        "coverage": {level: mean share of events}, "backoff_accuracy": mean over homes that show
        something, or None, "kept": [level-homes shown whose accuracy is above the floor, shown]}]},
        "reference": {week: {level}}}.
    """
    weeks = {name: _weeks(runs, content["floor"]) for name, runs in content["arms"].items()}
    return {"arms": weeks, "reference": REFERENCE}


def _weeks(runs: Runs, floor: float) -> list[dict[str, Any]]:
    result = []
    for number in range(len(runs[0]["weeks"])):
        found = [run["weeks"][number] for run in runs]
        labels = [one["labels"] for one in found]
        said = [one["backoff"] for one in found]
        right = [one["accuracy"] for one in said if one["accuracy"] is not None]
        truths = [one["accuracy"][level] for one in found for level in one["shown"]]
        result.append(
            {
                "week": number + 1,
                "labels": [min(labels), float(np.median(labels)), max(labels)],
                "accuracy": {
                    level: _mean([one["accuracy"][level] for one in found]) for level in LEVELS
                },
                "shown": {
                    level: _share([level in one["shown"] for one in found]) for level in LEVELS
                },
                "coverage": {
                    level: _share([one["coverage"][level] for one in said]) for level in LEVELS
                },
                "backoff_accuracy": _share(right) if right else None,
                "kept": [sum(truth > floor for truth in truths), len(truths)],
            }
        )
    return result


def _mean(values: list[float]) -> list[float]:
    return [float(np.mean(values)), half_width(values)]


def _share(values: Sequence[float]) -> float:
    return float(np.mean(values))


def rows(content: dict[str, Any]) -> list[list[str]]:
    """A row an arm and week under `COLUMNS`, and the reference after the first arm."""
    result = []
    for number, (name, weeks) in enumerate(summary(content)["arms"].items()):
        result += [_row(name, week) for week in weeks]
        if number == 0:
            result += [_reference_row(week, wanted) for week, wanted in REFERENCE.items()]
    return result


def short_rows(content: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Arm → rows under `SHORT_COLUMNS` that fit a terminal; "reference" is one of the arms."""
    result = {}
    for name, weeks in summary(content)["arms"].items():
        lines = [_row(name, week) for week in weeks]
        shares = [
            "/".join(f"{100 * week['shown'][level]:.0f}" for level in LEVELS) for week in weeks
        ]
        result[name] = [
            [line[1], line[2].partition(" ")[0], *line[3:6], f"{share}%"]
            for line, share in zip(lines, shares, strict=True)
        ]
    result["reference"] = [_reference_row(week, one)[1:7] for week, one in REFERENCE.items()]
    return result


def _row(name: str, week: dict[str, Any]) -> list[str]:
    fewest, median, most = week["labels"]
    coverage, shown = week["coverage"], week["shown"]
    right = week["backoff_accuracy"]
    return [
        name,
        str(week["week"]),
        f"{median:.0f} ({fewest}–{most})",
        *(
            f"{100 * week['accuracy'][level][0]:.1f}% ± {100 * week['accuracy'][level][1]:.1f}"
            for level in LEVELS
        ),
        " / ".join(f"{shown[level]:.0%}" for level in LEVELS),
        " / ".join(f"{coverage[level]:.0%}" for level in LEVELS),
        NONE if right is None else f"{right:.1%}",
    ]


def _reference_row(week: int, wanted: dict[str, float]) -> list[str]:
    cells = [f"{wanted[level]:.0%}" if level in wanted else NONE for level in LEVELS]
    return ["reference", str(week), NONE, *cells, NONE, NONE, NONE]


def differences(content: dict[str, Any], one: str, other: str) -> list[list[str]]:
    """A row a week: accuracy of arm `one` less that of `other` in the same homes, paired t-test."""
    result = []
    for week in range(len(content["arms"][one][0]["weeks"])):
        cells = []
        for level in LEVELS:
            pairs = [
                [run["weeks"][week]["accuracy"][level] for run in content["arms"][name]]
                for name in (one, other)
            ]
            gaps = [a - b for a, b in zip(*pairs, strict=True)]
            p = float(ttest_rel(*pairs).pvalue) if len(gaps) > 1 and any(gaps) else float("nan")
            chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
            cells.append(f"{100 * np.mean(gaps):+.1f} ± {100 * half_width(gaps):.1f}, {chance}")
        result.append([f"{one} − {other}", str(week + 1), *cells])
    return result


def markdown(columns: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A markdown table; the first column is left-aligned."""
    lines = [
        f"| {' | '.join(columns)} |",
        f"|---|{'---:|' * (len(columns) - 1)}",
        *(f"| {' | '.join(line)} |" for line in body),
    ]
    return "\n".join(lines)
