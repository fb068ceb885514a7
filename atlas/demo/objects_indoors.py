"""Outlines of things found indoors, clothes excepted."""

from __future__ import annotations

import numpy as np

from atlas.demo.shapes import Part, both_sides, bow, box, fill, oval, smooth, stroke


def mug(rng: np.random.Generator) -> list[Part]:
    """A mug with a handle."""
    wide, low = rng.uniform(0.4, 0.6), rng.uniform(0.5, 0.8)
    handle = stroke([(wide, -0.3), (wide + 0.35, -0.2), (wide + 0.35, 0.2), (wide, 0.3)], 0.12)
    body = box(-wide, -0.55, wide, low)
    return [handle, body, oval(0, -0.55, wide, 0.13, tone="dark")]


def bottle(rng: np.random.Generator) -> list[Part]:
    """A bottle with a label."""
    wide, neck = rng.uniform(0.22, 0.38), rng.uniform(-0.5, -0.1)
    body = fill(both_sides([(0.1, -0.9), (0.1, neck - 0.2), (wide, neck + 0.1), (wide, 0.9)]))
    label = box(-wide, 0.15, wide, 0.6, tone="light")
    return [body, label, box(-0.12, -0.98, 0.12, -0.84, tone="black")]


def lamp(rng: np.random.Generator) -> list[Part]:
    """A table lamp."""
    wide = rng.uniform(0.5, 0.8)
    shade = fill([(-0.3, -0.85), (0.3, -0.85), (wide, 0.0), (-wide, 0.0)])
    return [stroke([(0, 0), (0, 0.8)], 0.1, "black"), shade, oval(0, 0.82, 0.4, 0.12, tone="dark")]


def chair(rng: np.random.Generator) -> list[Part]:
    """A chair from the side."""
    seat, back = rng.uniform(0.0, 0.2), rng.uniform(-0.95, -0.6)
    legs = [stroke([(x, seat), (x * 1.1, 0.95)], 0.1) for x in (-0.5, 0.5)]
    rest = fill([(-0.62, back), (-0.45, back), (-0.42, seat), (-0.56, seat)])
    return [
        *legs,
        rest,
        box(-0.6, seat - 0.08, 0.6, seat + 0.1),
        bow((-0.5, 0.5), (0.5, 0.5), 0, 0.06),
    ]


def hammer(rng: np.random.Generator) -> list[Part]:
    """A hammer."""
    wide = rng.uniform(0.5, 0.7)
    head = fill([(-wide, -0.8), (0.3, -0.8), (wide, -0.6), (0.3, -0.45), (-wide, -0.45)])
    return [box(-0.1, -0.6, 0.1, 0.95, tone="black"), head]


def spanner(rng: np.random.Generator) -> list[Part]:
    """A spanner with an open jaw."""
    jaw = rng.uniform(0.1, 0.18)
    head = fill(
        [
            (-0.15, -0.4),
            (-0.4, -0.65),
            (-0.32, -0.95),
            (-jaw, -0.95),
            (-jaw, -0.68),
            (jaw, -0.68),
            (jaw, -0.95),
            (0.32, -0.95),
            (0.4, -0.65),
            (0.15, -0.4),
        ]
    )
    return [
        box(-0.13, -0.5, 0.13, 0.75),
        head,
        oval(0, 0.75, 0.25, 0.22),
        oval(0, 0.75, 0.1, 0.09, tone="black"),
    ]


def scissors(rng: np.random.Generator) -> list[Part]:
    """A pair of scissors."""
    spread = rng.uniform(0.15, 0.45)
    blades = [
        fill([(s * -0.08, 0.2), (s * 0.06, 0.1), (s * spread, -0.95)], "light") for s in (1, -1)
    ]
    ring = np.linspace(0, 2 * np.pi, 16)
    loops = [
        stroke([(x + 0.22 * np.cos(a), 0.65 + 0.25 * np.sin(a)) for a in ring], 0.11, "cloth")
        for x in (-0.33, 0.33)
    ]
    return [
        *blades,
        *loops,
        stroke([(0, 0.15), (0.25, 0.48)], 0.1, "cloth"),
        stroke([(0, 0.15), (-0.25, 0.48)], 0.1, "cloth"),
    ]


def key(rng: np.random.Generator) -> list[Part]:
    """A key."""
    teeth = [box(0.5 + 0.17 * i, 0.0, 0.6 + 0.17 * i, rng.uniform(0.15, 0.35)) for i in range(3)]
    return [
        box(-0.3, -0.08, 0.95, 0.08),
        *teeth,
        oval(-0.55, 0, 0.38, 0.38),
        oval(-0.6, 0, 0.17, 0.17, tone="black"),
    ]


def umbrella(rng: np.random.Generator) -> list[Part]:
    """An open umbrella."""
    high = rng.uniform(-0.9, -0.7)
    dome = smooth(
        [
            (-0.95, 0.0),
            (-0.95, 0.0),
            (-0.6, high),
            (0.6, high),
            (0.95, 0.0),
            (0.95, 0.0),
            (0.5, -0.15),
            (0, 0.0),
            (-0.5, -0.15),
        ]
    )
    shaft = stroke([(0, high), (0, 0.75), (0.1, 0.88), (0.25, 0.85), (0.28, 0.7)], 0.07, "black")
    return [
        shaft,
        dome,
        bow((0, high + 0.1), (-0.35, -0.1), 0.0, 0.03),
        bow((0, high + 0.1), (0.35, -0.1), 0.0, 0.03),
    ]


def guitar(rng: np.random.Generator) -> list[Part]:
    """A guitar."""
    waist = rng.uniform(0.22, 0.34)
    body = smooth(both_sides([(0.1, -0.15), (0.4, -0.05), (waist, 0.3), (0.55, 0.65), (0.2, 0.95)]))
    return [
        box(-0.07, -0.9, 0.07, 0.1, tone="black"),
        body,
        oval(0, 0.35, 0.14, 0.13, tone="black"),
        box(-0.13, -0.98, 0.13, -0.82, tone="dark"),
        box(-0.18, 0.62, 0.18, 0.7, tone="black"),
    ]
