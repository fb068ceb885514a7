"""The geometry of the learning curve; the page's template draws it as an inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 14, 40
GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
MAX_X_TICKS = 10


@dataclass(frozen=True)
class Point:
    """One round at one level, in pixels of the drawing, and what to say about it."""

    x: float
    y: float
    low_y: float
    high_y: float
    text: str


@dataclass(frozen=True)
class Plot:
    """What there is to draw.

    Attributes:
        levels: level → its measured rounds, in order.
        x_ticks: (pixel, number of labels).
        y_ticks: (pixel, accuracy in [0, 1]).
    """

    levels: dict[str, list[Point]]
    x_ticks: list[tuple[float, int]]
    y_ticks: list[tuple[float, float]]
    width: int = WIDTH
    height: int = HEIGHT

    def line(self, level: str) -> str:
        """The `points` of the polyline of a level."""
        return " ".join(f"{point.x},{point.y}" for point in self.levels[level])

    def band(self, level: str) -> str:
        """The `points` of the polygon around a level's intervals."""
        curve = self.levels[level]
        upper = [f"{point.x},{point.high_y}" for point in curve]
        lower = [f"{point.x},{point.low_y}" for point in reversed(curve)]
        return " ".join(upper + lower)


def plot(rounds: Sequence[Mapping[str, Any]], levels: Sequence[str]) -> Plot | None:
    """The curve of each level over labels; None before two rounds with labels are measured."""
    measured = {
        level: [one for one in rounds if _measured(one, level) is not None] for level in levels
    }
    labels = sorted({one["labels"] for found in measured.values() for one in found})
    if len(labels) < 2:
        return None
    step = -(-len(labels) // MAX_X_TICKS)
    return Plot(
        levels={
            level: [_point(one, level, labels[-1]) for one in found]
            for level, found in measured.items()
            if found
        },
        x_ticks=[(_x(value, labels[-1]), value) for value in labels[::-1][::step]],
        y_ticks=[(_y(value), value) for value in GRID],
    )


def _measured(one: Mapping[str, Any], level: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = one["accuracy"].get(level)
    return found if found is not None and found["accuracy"] is not None else None


def _point(one: Mapping[str, Any], level: str, most: int) -> Point:
    found = one["accuracy"][level]
    text = (
        f"{level}, {one['labels']} labels: {found['accuracy']:.1%} "
        f"({found['low']:.1%} to {found['high']:.1%})"
    )
    ys = (_y(found["accuracy"]), _y(found["low"]), _y(found["high"]))
    return Point(_x(one["labels"], most), *ys, text)


def _x(labels: int, most: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * labels / most, 1)


def _y(accuracy: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - accuracy), 1)
