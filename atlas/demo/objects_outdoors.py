"""Outlines of things found outdoors."""

from __future__ import annotations

import numpy as np

from atlas.demo.shapes import Part, both_sides, bow, box, fill, mirrored, oval, smooth, stroke


def house(rng: np.random.Generator) -> list[Part]:
    """A house with a roof, a door and windows."""
    eaves, wide = rng.uniform(-0.3, 0.0), rng.uniform(0.55, 0.8)
    roof = fill([(-wide - 0.15, eaves), (0, -0.9), (wide + 0.15, eaves)], "dark")
    door = box(-0.12, 0.35, 0.15, 0.85, tone="accent")
    panes = [box(x, 0.05, x + 0.24, 0.32, tone="white") for x in (-0.45, 0.25)]
    return [box(-wide, eaves, wide, 0.85), roof, door, *panes]


def car(rng: np.random.Generator) -> list[Part]:
    """A car from the side."""
    roof, nose = rng.uniform(-0.5, -0.3), rng.uniform(0.0, 0.15)
    body = fill(
        [(-0.95, 0.0), (-0.6, -0.05), (-0.4, roof), (0.3, roof), (0.55, -0.02), (0.95, nose),
         (0.95, 0.35), (-0.95, 0.35)]
    )  # fmt: skip
    glass = fill(
        [(-0.48, -0.05), (-0.33, roof + 0.08), (0.24, roof + 0.08), (0.42, -0.05)], "white"
    )
    wheels = [oval(x, 0.38, 0.2, 0.2, tone="black") for x in (-0.52, 0.52)]
    return [body, glass, stroke([(-0.03, roof), (-0.03, 0.3)], 0.04), *wheels]


def bus(rng: np.random.Generator) -> list[Part]:
    """A bus from the side."""
    top = rng.uniform(-0.6, -0.4)
    panes = [
        box(x, top + 0.12, x + 0.25, top + 0.42, tone="white") for x in (-0.82, -0.5, -0.18, 0.14)
    ]
    wheels = [oval(x, 0.48, 0.17, 0.17, tone="black") for x in (-0.55, 0.5)]
    return [
        box(-0.95, top, 0.95, 0.45),
        *panes,
        box(0.5, top + 0.12, 0.8, 0.4, tone="dark"),
        *wheels,
    ]


def boat(rng: np.random.Generator) -> list[Part]:
    """A sailing boat."""
    mast = rng.uniform(-0.95, -0.7)
    hull = fill([(-0.85, 0.4), (0.85, 0.4), (0.5, 0.8), (-0.55, 0.8)], "dark")
    sail = fill([(0.06, mast), (0.06, 0.25), (0.7, 0.25)])
    jib = fill([(-0.06, mast + 0.15), (-0.06, 0.25), (-0.6, 0.25)], "light")
    return [stroke([(0, mast), (0, 0.45)], 0.06, "black"), sail, jib, hull]


def plane(rng: np.random.Generator) -> list[Part]:
    """An aeroplane from above."""
    span, sweep = rng.uniform(0.75, 0.98), rng.uniform(0.1, 0.45)
    hull = smooth(both_sides([(0.02, -0.98), (0.13, -0.7), (0.13, 0.6), (0.03, 0.95)]))
    wing = fill([(0.08, -0.25), (span, sweep - 0.1), (span, sweep + 0.08), (0.08, 0.15)], "light")
    tail = fill([(0.05, 0.6), (0.36, 0.8), (0.36, 0.9), (0.05, 0.82)], "dark")
    return [wing, mirrored(wing), tail, mirrored(tail), hull]


def bicycle(rng: np.random.Generator) -> list[Part]:
    """A bicycle: two wheels and a frame."""
    radius = rng.uniform(0.3, 0.4)
    ring = np.linspace(0, 2 * np.pi, 20)
    wheels = [
        stroke([(x + radius * np.cos(a), 0.35 + radius * np.sin(a)) for a in ring], 0.07, "black")
        for x in (-0.55, 0.55)
    ]
    frame = stroke(
        [(-0.55, 0.35), (-0.2, -0.2), (0.35, -0.2), (-0.05, 0.35), (-0.55, 0.35)], 0.08, "cloth"
    )
    fork = stroke([(0.55, 0.35), (0.32, -0.4), (0.5, -0.5)], 0.08, "cloth")
    saddle = stroke([(-0.35, -0.32), (-0.08, -0.32)], 0.1, "black")
    return [*wheels, frame, fork, saddle, stroke([(-0.05, 0.35), (-0.24, -0.32)], 0.08, "cloth")]


def apple(rng: np.random.Generator) -> list[Part]:
    """An apple with a stalk and a leaf."""
    fat = rng.uniform(0.62, 0.8)
    fruit = smooth(
        both_sides([(0, -0.42), (0.35, -0.58), (fat, -0.2), (0.55, 0.5), (0.2, 0.72), (0, 0.62)])
    )
    leaf = smooth([(0.05, -0.6), (0.3, -0.95), (0.55, -0.85), (0.3, -0.6)], "light")
    return [fruit, stroke([(0, -0.42), (0.06, -0.85)], 0.07, "black"), leaf]


def banana(rng: np.random.Generator) -> list[Part]:
    """A banana."""
    sag = rng.uniform(0.45, 0.7)
    flesh = smooth(
        [
            (-0.9, -0.35),
            (-0.5, 0.2),
            (0, sag - 0.25),
            (0.5, 0.2),
            (0.9, -0.4),
            (0.8, 0.2),
            (0.4, sag),
            (-0.4, sag),
            (-0.85, 0.2),
        ]
    )
    return [
        flesh,
        oval(0.88, -0.38, 0.07, 0.09, tone="black"),
        bow((-0.8, 0.0), (0.8, -0.05), sag * 0.8, 0.03),
    ]


def cherries(rng: np.random.Generator) -> list[Part]:
    """Two cherries on stalks."""
    size = rng.uniform(0.28, 0.38)
    stalks = [stroke([(x, 0.4), (0.1, -0.8)], 0.06, "black") for x in (-0.4, 0.45)]
    shine = [oval(x - 0.1, 0.3, 0.08, 0.08, tone="white") for x in (-0.4, 0.45)]
    return [*stalks, oval(-0.4, 0.42, size, size), oval(0.45, 0.5, size, size), *shine]


def mushroom(rng: np.random.Generator) -> list[Part]:
    """A mushroom with a spotted cap."""
    wide = rng.uniform(0.65, 0.9)
    cap = smooth(
        [
            (-wide, 0.1),
            (-wide, 0.1),
            (-0.6, -0.65),
            (0, -0.85),
            (0.6, -0.65),
            (wide, 0.1),
            (wide, 0.1),
        ]
    )
    spots = [
        oval(x, y, 0.11, 0.09, tone="white") for x, y in ((-0.4, -0.2), (0.1, -0.5), (0.45, -0.15))
    ]
    return [smooth([(-0.2, 0), (0.2, 0), (0.3, 0.9), (-0.3, 0.9)], "light"), cap, *spots]


def tree(rng: np.random.Generator) -> list[Part]:
    """A round tree or a fir."""
    if rng.random() < 0.5:
        crown = [oval(x, y, 0.42, 0.38) for x, y in ((-0.3, -0.2), (0.3, -0.2), (0, -0.55))]
    else:
        crown = [
            fill(
                [
                    (0, -0.95 + 0.4 * i),
                    (0.4 + 0.13 * i, -0.3 + 0.4 * i),
                    (-0.4 - 0.13 * i, -0.3 + 0.4 * i),
                ]
            )
            for i in range(3)
        ]
    return [box(-0.1, 0.1, 0.1, 0.95, tone="black"), *crown]


def flower(rng: np.random.Generator) -> list[Part]:
    """A flower with petals, a stem and a leaf."""
    count = int(rng.integers(5, 9))
    turn = np.arange(count) * 2 * np.pi / count
    petals = [oval(0.34 * np.cos(a), -0.4 + 0.34 * np.sin(a), 0.2, 0.2) for a in turn]
    leaf = smooth([(0, 0.6), (0.3, 0.2), (0.5, 0.3), (0.3, 0.6)], "dark")
    return [
        stroke([(0, -0.3), (0, 0.95)], 0.08),
        leaf,
        *petals,
        oval(0, -0.4, 0.2, 0.2, tone="accent"),
    ]


def fish(rng: np.random.Generator) -> list[Part]:
    """A fish from the side."""
    fat = rng.uniform(0.3, 0.5)
    tail = fill([(-0.4, 0), (-0.95, -0.4), (-0.8, 0), (-0.95, 0.4)], "dark")
    fin = fill([(-0.1, -fat + 0.05), (0.2, -fat - 0.2), (0.35, -fat + 0.1)], "dark")
    return [
        tail,
        fin,
        oval(0.15, 0, 0.7, fat),
        oval(0.55, -0.1, 0.07, 0.07, tone="white"),
        bow((0.35, -0.2), (0.35, 0.2), 0, 0.04),
    ]


def bird(rng: np.random.Generator) -> list[Part]:
    """A bird from the side."""
    tail = rng.uniform(-0.3, 0.1)
    body = smooth([(-0.5, 0.0), (0.1, -0.35), (0.5, -0.1), (0.3, 0.45), (-0.25, 0.4)])
    wing = smooth([(-0.45, 0.0), (0.15, -0.1), (0.1, 0.25), (-0.5, 0.3)], "dark")
    feathers = fill([(-0.35, 0.0), (-0.95, tail), (-0.9, tail + 0.25), (-0.3, 0.3)], "light")
    legs = [stroke([(x, 0.35), (x, 0.85)], 0.05, "black") for x in (-0.05, 0.15)]
    beak = fill([(0.68, -0.5), (0.98, -0.38), (0.68, -0.3)], "black")
    return [
        *legs,
        feathers,
        body,
        wing,
        beak,
        oval(0.48, -0.4, 0.26, 0.25),
        oval(0.55, -0.45, 0.05, 0.05, tone="black"),
    ]
