"""Made-up things: each number is a class with an outline, limbs and marks of its own."""

from __future__ import annotations

import numpy as np

from atlas.demo.shapes import Part, both_sides, fill, mirrored, oval, smooth, stroke

# Added to the number of a class, so that its outline never shares a stream with a picture's pose.
_CLASS_STREAM = 90_210


def doodle(number: int, rng: np.random.Generator) -> list[Part]:
    """Give one specimen of made-up class `number`; `rng` varies its proportions."""
    fixed = np.random.default_rng([_CLASS_STREAM, number])
    body, mirror = _body(fixed, rng)
    return [*_limbs(fixed, rng, mirror), body, *_marks(fixed, rng, mirror)]


def _body(fixed: np.random.Generator, rng: np.random.Generator) -> tuple[Part, bool]:
    mirror = bool(fixed.random() < 0.7)
    count = int(fixed.integers(3, 7))
    stretch = fixed.uniform(0.45, 1.0, 2)
    if mirror:
        angle = np.linspace(-0.5, 0.5, count) * np.pi
    else:
        angle = np.linspace(0, 2 * np.pi, count + 2, endpoint=False)
    radius = fixed.uniform(0.35, 1.0, len(angle)) + rng.normal(0, 0.05, len(angle))
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] * stretch
    outline *= 0.9 / np.abs(outline).max()
    points = both_sides(outline.tolist()) if mirror else outline.tolist()
    return (smooth(points) if fixed.random() < 0.5 else fill(points)), mirror


def _limbs(fixed: np.random.Generator, rng: np.random.Generator, mirror: bool) -> list[Part]:
    parts = []
    for _ in range(int(fixed.integers(0, 3))):
        start, reach = fixed.uniform(-0.3, 0.3, 2), fixed.uniform(-0.95, 0.95, 2)
        wide, tone = fixed.uniform(0.08, 0.3), fixed.choice(["cloth", "dark", "black"])
        end = reach + rng.normal(0, 0.06, 2)
        limb = stroke([start, (start + end) / 2 + [0, 0.1], end], wide, tone)
        tip = oval(end[0], end[1], wide * 0.7, wide * 0.7, tone=tone)
        ends = [tip] if fixed.random() < 0.5 else []
        parts += [limb, *ends]
        if mirror:
            parts += [mirrored(part) for part in (limb, *ends)]
    return parts


def _marks(fixed: np.random.Generator, rng: np.random.Generator, mirror: bool) -> list[Part]:
    parts = []
    for _ in range(int(fixed.integers(0, 4))):
        x, y = fixed.uniform(-0.4, 0.4, 2) + rng.normal(0, 0.03, 2)
        tone = fixed.choice(["dark", "light", "white", "accent", "black"])
        kind, size, lean = fixed.integers(3), fixed.uniform(0.06, 0.2), fixed.uniform(-0.4, 0.4)
        if kind == 0:
            mark = oval(x, y, size, size * 0.8, tone=tone)
        elif kind == 1:
            mark = stroke([(x - lean, y - 0.2), (x + lean, y + 0.2)], size / 2, tone)
        else:
            mark = stroke([(x - 0.3, y), (x, y + lean), (x + 0.3, y)], size / 2, tone)
        parts.append(mark)
        if mirror:
            parts.append(mirrored(mark))
    return parts
