"""What a simulation's curves say, by hand."""

import math
from typing import Any

import pytest

from atlas.comparison import area_under_curve, compare, labels_to_reach, markdown_table


def run(seed: int, *accuracy: float) -> dict[str, Any]:
    points = [
        {"labels": labels, "accuracy": {"kind": value}}
        for labels, value in zip((100, 200, 400), accuracy, strict=True)
    ]
    return {"seed": seed, "points": points}


CONTENT = {
    "levels": ["kind"],
    "samplers": {
        "random": [run(0, 0.4, 0.5, 0.6), run(1, 0.4, 0.5, 0.64)],
        "good": [run(0, 0.5, 0.6, 0.7), run(1, 0.5, 0.64, 0.7)],
        "bad": [run(0, 0.3, 0.3, 0.3), run(1, 0.3, 0.3, 0.4)],
    },
}


def test_area_by_hand() -> None:
    """(0.45·100 + 0.55·200) / 300 = 155/300."""
    assert area_under_curve(run(0, 0.4, 0.5, 0.6), "kind") == pytest.approx(155 / 300)
    one = {"points": [{"labels": 20, "accuracy": {"kind": 0.3}}]}
    assert area_under_curve(one, "kind") == 0.3


def test_labels_to_reach_by_hand() -> None:
    labels, accuracy = [100, 200, 400], [0.4, 0.5, 0.6]
    assert labels_to_reach(labels, accuracy, 0.3) == 100
    assert labels_to_reach(labels, accuracy, 0.45) == pytest.approx(150)
    assert labels_to_reach(labels, accuracy, 0.55) == pytest.approx(300)
    assert labels_to_reach(labels, accuracy, 0.7) == math.inf


def test_against_random_by_hand() -> None:
    """Random ends at 0.62; good is at 0.62 with 200 labels. Areas 155/300 and 163/300 for seed 0.

    good: seed 0 (0.55·100 + 0.65·200)/300 = 185/300, seed 1 (0.57·100 + 0.67·200)/300 = 191/300;
    random: 155/300 and (0.45·100 + 0.57·200)/300 = 159/300. Gains 30/300 and 32/300.
    """
    figures = compare(CONTENT)
    good = figures["good"]["kind"]
    assert good["labels"] == pytest.approx(200)
    assert good["labels_low"] <= 200 <= good["labels_high"]
    assert good["gain"] == pytest.approx(31 / 300)
    assert good["accuracy"] == pytest.approx(0.7)
    # t = mean / (sd/√2) with sd = √2/300: 31 over 1; two-sided p at 1 degree of freedom
    assert good["p"] == pytest.approx(2 / math.pi * math.atan(1 / 31), rel=1e-6)
    bad = figures["bad"]["kind"]
    assert bad["labels"] == math.inf
    assert bad["gain"] < 0
    assert "labels" not in figures["random"]["kind"]


def test_the_table_says_it() -> None:
    lines = markdown_table(CONTENT).splitlines()
    assert "labels to reach random at 400" in lines[0]
    assert lines[2].startswith("| random | kind | 2 | 40.0% ± 0.0 | 50.0% ± 0.0 | 62.0% ±")
    assert lines[2].endswith("| – | – |")
    assert "| 200 (" in lines[3] and "+10.3 points, p = 0.021 |" in lines[3]
    assert "| not reached |" in lines[4]


def test_one_seed_has_no_test() -> None:
    one = {"levels": ["kind"], "samplers": {k: v[:1] for k, v in CONTENT["samplers"].items()}}
    assert math.isnan(compare(one)["good"]["kind"]["p"])
    assert "p unknown" in markdown_table(one)


def test_a_chain_does_not_break_the_table() -> None:
    chained = {"levels": ["kind"], "samplers": {"margin*2 | kmeans": [run(0, 0.1, 0.2, 0.3)]}}
    assert "| margin*2 \\| kmeans | kind |" in markdown_table(chained)
