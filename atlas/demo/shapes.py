"""Outlines made of parts, the vocabulary every drawn object is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Line = Sequence[Sequence[float] | Points] | Points
Tone = Literal["cloth", "dark", "light", "accent", "white", "black"]


@dataclass(frozen=True)
class Part:
    """One filled polygon or one stroke of an object.

    `points` is (K, 2), x to the right and y down, the object filling about [-1, 1] on both axes.
    `width` is None for a filled polygon, otherwise the stroke's width in the same units. "cloth" is
    filled with the object's pattern, the other tones with flat colours derived from it.
    """

    points: Points
    tone: Tone = "cloth"
    width: float | None = None


def fill(points: Line, tone: Tone = "cloth") -> Part:
    """Give a filled polygon with sharp corners."""
    return Part(np.asarray(points, dtype=np.float64), tone)


def smooth(points: Line, tone: Tone = "cloth") -> Part:
    """Give a filled polygon whose corners are rounded off by two corner cuttings."""
    outline = np.asarray(points, dtype=np.float64)
    for _ in range(2):
        outline = _cut_corners(outline)
    return Part(outline, tone)


def stroke(points: Line, width: float, tone: Tone = "dark") -> Part:
    """Give an open line of the stated width."""
    return Part(np.asarray(points, dtype=np.float64), tone, width)


def oval(x: float, y: float, rx: float, ry: float, *, tone: Tone = "cloth") -> Part:
    """Give an axis-parallel ellipse around (x, y)."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return Part(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1), tone)


def box(left: float, top: float, right: float, bottom: float, *, tone: Tone = "cloth") -> Part:
    """Give an axis-parallel rectangle."""
    return fill([(left, top), (right, top), (right, bottom), (left, bottom)], tone)


def bow(start: Sequence[float], end: Sequence[float], depth: float, width: float) -> Part:
    """Give a dark curved line from `start` to `end` that sags by `depth`."""
    t = np.linspace(0, 1, 9)[:, None]
    line = (1 - t) * np.asarray(start) + t * np.asarray(end)
    line[:, 1] += depth * 4 * (t * (1 - t))[:, 0]
    return Part(line, "dark", width)


def both_sides(half: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Close a right-hand half outline (x ≥ 0, top to bottom) with its mirror image."""
    right = [(float(x), float(y)) for x, y in half]
    return right + [(-x, y) for x, y in reversed(right)]


def mirrored(part: Part) -> Part:
    """Give the same part with left and right swapped."""
    return replace(part, points=part.points * np.array([-1.0, 1.0]))


def _cut_corners(outline: Points) -> Points:
    following = np.roll(outline, -1, axis=0)
    cut = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], axis=1)
    return cut.reshape(-1, 2)
