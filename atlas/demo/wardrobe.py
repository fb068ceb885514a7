"""Outlines of clothes, one function a garment; each varies proportions and style."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from atlas.demo.shapes import (
    Part,
    both_sides,
    bow,
    box,
    fill,
    mirrored,
    oval,
    smooth,
    stroke,
)

Outline = Callable[[np.random.Generator], list[Part]]


def t_shirt(rng: np.random.Generator) -> list[Part]:
    """Short sleeves, round neck."""
    hem, sleeve, wide = rng.uniform(0.6, 0.95), rng.uniform(-0.15, 0.15), rng.uniform(0.42, 0.56)
    half = [
        (0.22, -0.82),
        (0.5, -0.74),
        (0.98, -0.3 + sleeve),
        (0.74, -0.02 + sleeve),
        (wide, -0.3),
    ]
    body = fill([*both_sides([*half, (wide + 0.03, hem)]), (-0.12, -0.68), (0.12, -0.68)])
    cuff = stroke([(0.93, -0.3 + sleeve), (0.72, -0.08 + sleeve)], 0.05)
    neck = bow((-0.22, -0.82), (0.22, -0.82), 0.16, 0.07)
    return [body, cuff, mirrored(cuff), neck]


def jumper(rng: np.random.Generator) -> list[Part]:
    """Long sleeves, ribbed cuffs and hem, rolled collar."""
    hem, reach, wide = rng.uniform(0.6, 0.8), rng.uniform(0.4, 0.7), rng.uniform(0.46, 0.58)
    half = [
        (0.2, -0.78),
        (0.52, -0.7),
        (0.82, -0.2),
        (0.98, reach),
        (0.72, reach + 0.04),
        (wide, -0.2),
    ]
    body = fill(both_sides([*half, (wide, hem)]))
    cuff = fill(
        [(0.72, reach), (0.98, reach - 0.04), (0.97, reach + 0.13), (0.74, reach + 0.15)], "dark"
    )
    parts = [body, cuff, mirrored(cuff), box(-wide, hem - 0.04, wide, hem + 0.12, tone="dark")]
    parts.append(smooth([(-0.25, -0.95), (0.25, -0.95), (0.28, -0.68), (-0.28, -0.68)], "dark"))
    seam = stroke([(wide, -0.2), (0.5, -0.68)], 0.03)
    if rng.random() < 0.5:
        zigzag = [(x, -0.2 + 0.12 * (i % 2)) for i, x in enumerate(np.linspace(-wide, wide, 9))]
        parts.append(stroke(zigzag, 0.07, "light"))
    return [*parts, seam, mirrored(seam)]


def shirt(rng: np.random.Generator) -> list[Part]:
    """Collar with two points, buttons down the front, a pocket."""
    hem, wide = rng.uniform(0.7, 0.92), rng.uniform(0.42, 0.54)
    sleeve_end = rng.uniform(0.35, 0.6) if rng.random() < 0.7 else rng.uniform(-0.2, 0.0)
    half = [
        (0.2, -0.78),
        (0.5, -0.7),
        (0.92, sleeve_end - 0.08),
        (0.72, sleeve_end),
        (wide, -0.25),
        (wide, hem - 0.15),
    ]
    body = fill(both_sides([*half, (0.2, hem)]))
    collar = fill([(0.02, -0.62), (0.24, -0.86), (0.36, -0.62), (0.2, -0.46)], "light")
    edge = stroke([(0.02, -0.62), (0.2, -0.46), (0.36, -0.62)], 0.035)
    front = stroke([(0.05, -0.6), (0.05, hem - 0.02)], 0.04)
    buttons = [oval(-0.03, y, 0.035, 0.035, tone="white") for y in np.linspace(-0.4, hem - 0.2, 6)]
    pocket = stroke([(0.17, -0.2), (0.17, 0.05), (0.37, 0.05), (0.37, -0.2), (0.17, -0.2)], 0.035)
    seam = stroke([(wide, -0.25), (0.47, -0.66)], 0.03)
    return [
        body,
        seam,
        mirrored(seam),
        front,
        *buttons,
        collar,
        mirrored(collar),
        edge,
        mirrored(edge),
        pocket,
    ]


def vest(rng: np.random.Generator) -> list[Part]:
    """No sleeves, narrow straps, deep neck."""
    hem, wide, deep = rng.uniform(0.7, 0.95), rng.uniform(0.46, 0.58), rng.uniform(-0.4, -0.15)
    half = [
        (0.2, -0.9),
        (0.36, -0.9),
        (0.38, -0.5),
        (wide, -0.2),
        (wide + 0.02, hem),
    ]
    neckline = [(-0.2, -0.55), (-0.1, deep), (0.1, deep), (0.2, -0.55)]
    rim = stroke([(-0.2, -0.9), *neckline, (0.2, -0.9)], 0.06)
    arm = stroke([(0.36, -0.9), (0.38, -0.5), (wide, -0.2)], 0.06)
    return [fill([*both_sides(half), *neckline]), rim, arm, mirrored(arm)]


def trousers(rng: np.random.Generator) -> list[Part]:
    """Waistband and two long legs."""
    hip, flare, crotch = rng.uniform(0.36, 0.48), rng.uniform(-0.08, 0.14), rng.uniform(-0.35, -0.2)
    half = [(0.32, -0.92), (hip, -0.45), (hip + flare, 0.95), (hip + flare - 0.28, 0.95)]
    legs = fill([*both_sides([*half, (0.02, crotch + 0.05)])])
    crease = stroke([(hip - 0.12, -0.5), (hip + flare - 0.14, 0.93)], 0.025)
    fly = stroke([(0, -0.8), (0, crotch)], 0.035)
    pocket = stroke([(0.14, -0.76), (hip - 0.03, -0.55)], 0.035)
    band = box(-0.33, -0.95, 0.33, -0.8, tone="dark")
    return [legs, crease, mirrored(crease), fly, pocket, mirrored(pocket), band]


def shorts(rng: np.random.Generator) -> list[Part]:
    """Waistband and two short wide legs."""
    hip, end = rng.uniform(0.62, 0.75), rng.uniform(0.3, 0.6)
    half = [(0.55, -0.62), (hip, -0.1), (hip + 0.12, end), (0.12, end + 0.06), (0.03, 0.05)]
    legs = fill(both_sides(half))
    cuff = stroke([(hip + 0.1, end - 0.1), (0.12, end - 0.04)], 0.05)
    pocket = stroke([(0.28, -0.4), (hip - 0.08, -0.1)], 0.05)
    fly = stroke([(0, -0.42), (0, 0.02)], 0.04)
    band = box(-0.56, -0.65, 0.56, -0.45, tone="dark")
    return [legs, cuff, mirrored(cuff), pocket, mirrored(pocket), fly, band]


def skirt(rng: np.random.Generator) -> list[Part]:
    """Waistband and one wide panel with pleats."""
    hem, wide, waist = rng.uniform(0.5, 0.9), rng.uniform(0.6, 0.92), rng.uniform(0.28, 0.4)
    half = [(waist, -0.7), (waist + 0.12, -0.45), (wide, hem), (wide * 0.5, hem + 0.07)]
    pleats = [
        stroke([(waist * t * 0.9, -0.52), (wide * t, hem - 0.02)], 0.03)
        for t in np.linspace(-0.66, 0.66, int(rng.integers(3, 7)))
    ]
    band = box(-waist, -0.75, waist, -0.58, tone="dark")
    return [fill(both_sides(half)), *pleats, band]


def boot(rng: np.random.Generator) -> list[Part]:
    """Seen from the side: tall shaft, foot, heel."""
    top, heel, toe = rng.uniform(-0.95, -0.65), rng.uniform(0.1, 0.26), rng.uniform(0.7, 0.92)
    shaft = rng.uniform(0.0, 0.14)
    upper = smooth(
        [
            (-0.55, top),
            (0.05 + shaft, top),
            (0.05 + shaft, top),
            (0.02, 0.1),
            (0.45, 0.3),
            (toe, 0.48),
            (toe, 0.72),
            (-0.55, 0.72),
            (-0.55, 0.72),
            (-0.48, 0.1),
        ]
    )
    sole = fill([(-0.56, 0.68), (toe, 0.68), (toe, 0.78), (-0.1, 0.78), (-0.56, 0.78)], "black")
    block = box(-0.56, 0.74, -0.22, 0.74 + heel, tone="black")
    cuff = fill(
        [(-0.57, top - 0.02), (0.07 + shaft, top - 0.02), (0.06, top + 0.14), (-0.56, top + 0.14)],
        "dark",
    )
    ankle = bow((-0.48, 0.12), (0.04, 0.12), 0.06, 0.05)
    return [upper, block, sole, cuff, ankle]


def sandal(rng: np.random.Generator) -> list[Part]:
    """A bare sole with straps, from above or from the side."""
    if rng.random() < 0.5:
        wide = rng.uniform(0.36, 0.46)
        rim = [(0.1, -0.95), (wide, -0.6), (wide * 0.95, -0.1), (wide * 0.7, 0.5), (0.25, 0.95)]
        sole = smooth(both_sides(rim), "light")
        thong = stroke([(-wide, 0.02), (-0.02, -0.55), (wide, 0.02)], 0.13, "cloth")
        heel = stroke([(-0.36, 0.5), (0.36, 0.5)], 0.13, "cloth")
        inner = smooth(0.82 * np.asarray(both_sides(rim)), "white")
        return [sole, inner, thong, heel]
    thick = rng.uniform(0.08, 0.2)
    sole = smooth(
        [(-0.92, 0.3), (0.9, 0.42), (0.95, 0.5), (0.85, 0.5 + thick), (-0.92, 0.5 + thick)], "black"
    )
    toes = stroke([(0.75, 0.44), (0.5, 0.0), (0.25, 0.38)], 0.14, "cloth")
    ankle = stroke([(-0.85, 0.32), (-0.75, -0.3), (-0.2, -0.35), (-0.05, 0.35)], 0.13, "cloth")
    link = stroke([(0.5, 0.02), (-0.2, -0.33)], 0.1, "cloth")
    return [sole, toes, ankle, link]


def trainer(rng: np.random.Generator) -> list[Part]:
    """A low shoe from the side: thick white sole, laces, a stripe."""
    collar, thick = rng.uniform(-0.4, -0.2), rng.uniform(0.14, 0.26)
    upper = smooth(
        [
            (-0.9, collar - 0.12),
            (-0.5, collar + 0.05),
            (-0.25, collar - 0.1),
            (0.35, 0.12),
            (0.85, 0.22),
            (0.95, 0.45),
            (-0.92, 0.45),
            (-0.92, 0.45),
        ]
    )
    sole = smooth(
        [(-0.97, 0.38), (0.95, 0.38), (1.0, 0.42), (0.9, 0.4 + thick), (-0.95, 0.4 + thick)],
        "white",
    )
    laces = [
        stroke([(x, y), (x + 0.17, y - 0.17)], 0.05, "white")
        for x, y in zip(
            np.linspace(-0.2, 0.25, 4), np.linspace(collar + 0.15, 0.24, 4), strict=True
        )
    ]
    flash = smooth([(-0.6, 0.3), (-0.2, 0.3), (0.1, 0.0), (-0.1, 0.02)], "white")
    toecap = bow((0.62, 0.2), (0.6, 0.4), 0.0, 0.04)
    return [upper, sole, flash, toecap, *laces]


def hat(rng: np.random.Generator) -> list[Part]:
    """A brimmed hat, a bobble hat or a cap."""
    style = rng.integers(3)
    if style == 0:
        crown = smooth([(-0.45, 0.25), (-0.42, -0.55), (0, -0.45), (0.42, -0.55), (0.45, 0.25)])
        return [oval(0, 0.28, 0.98, 0.24), crown, box(-0.46, 0.02, 0.46, 0.22, tone="dark")]
    dome = smooth(
        [
            (-0.62, 0.45),
            (-0.62, 0.45),
            (-0.6, -0.3),
            (0, -0.85),
            (0.6, -0.3),
            (0.62, 0.45),
            (0.62, 0.45),
        ]
    )
    if style == 1:
        rib = box(-0.68, 0.3, 0.68, 0.65, tone="dark")
        lines = [stroke([(x, 0.32), (x, 0.63)], 0.03, "light") for x in np.linspace(-0.55, 0.55, 7)]
        return [dome, oval(0, -0.78, 0.22, 0.2, tone="light"), rib, *lines]
    peak = smooth([(0.2, 0.3), (0.62, 0.2), (1.0, 0.42), (1.0, 0.55), (0.3, 0.48)], "dark")
    seams = [bow((0, -0.6), (x, 0.4), -0.03, 0.03) for x in (-0.35, 0.25)]
    return [dome, peak, *seams, oval(0, -0.62, 0.07, 0.05, tone="dark")]


def scarf(rng: np.random.Generator) -> list[Part]:
    """A loop around a neck with two fringed ends."""
    long_end, short_end = rng.uniform(0.6, 0.85), rng.uniform(0.25, 0.7)
    wide = rng.uniform(0.26, 0.36)
    left = fill([(-0.3, -0.35), (-0.3 + wide, -0.3), (-0.35 + wide, long_end), (-0.4, long_end)])
    right = fill([(0.0, -0.35), (wide, -0.4), (0.25 + wide, short_end), (0.22, short_end)])
    loop = smooth(
        [(-0.55, -0.85), (0, -0.62), (0.55, -0.85), (0.62, -0.5), (0, -0.2), (-0.62, -0.5)]
    )
    parts = [right, left]
    for start, end, low in ((-0.39, -0.36 + wide, long_end), (0.23, 0.24 + wide, short_end)):
        fringe = np.linspace(start, end, 6)
        parts += [stroke([(x, low - 0.02), (x, low + 0.15)], 0.03, "cloth") for x in fringe]
        parts.append(stroke([(start, low - 0.1), (end, low - 0.1)], 0.07, "light"))
    fold = bow((-0.58, -0.68), (0.58, -0.68), 0.26, 0.04)
    edge = stroke([(-0.3 + wide, -0.25), (-0.35 + wide, long_end)], 0.03)
    return [*parts, edge, loop, fold, bow((-0.6, -0.52), (0.6, -0.52), 0.3, 0.03)]


def glove(rng: np.random.Generator) -> list[Part]:
    """A hand with fingers or a mitten, and a cuff."""
    palm = smooth(
        [(-0.42, -0.1), (0.38, -0.1), (0.42, 0.3), (0.34, 0.62), (-0.34, 0.62), (-0.42, 0.3)]
    )
    thumb = smooth([(0.3, 0.35), (0.62, -0.15), (0.85, -0.1), (0.78, 0.15), (0.4, 0.55)])
    cuff = box(-0.36, 0.55, 0.36, 0.92, tone="dark")
    ribs = [stroke([(x, 0.58), (x, 0.9)], 0.03, "light") for x in np.linspace(-0.28, 0.28, 5)]
    if rng.random() < 0.3:
        top = smooth([(-0.42, 0.1), (-0.42, -0.6), (0, -0.98), (0.38, -0.6), (0.38, 0.1)])
        return [top, palm, thumb, cuff, *ribs]
    spread = rng.uniform(0.0, 0.14)
    fingers: list[Part] = []
    for x, tip in ((-0.33, -0.55), (-0.11, -0.85), (0.11, -0.9), (0.31, -0.72)):
        lean = x * spread / 0.3
        fingers.append(stroke([(x, 0.1), (x + lean, tip)], 0.19, "cloth"))
        fingers.append(oval(x + lean, tip, 0.09, 0.09))
    gaps = [stroke([(x, 0.05), (x * (1 + spread), -0.4)], 0.025) for x in (-0.22, 0.0, 0.21)]
    return [*fingers, palm, thumb, *gaps, cuff, *ribs]


WARDROBE: dict[str, dict[str, Outline]] = {
    "top": {"t-shirt": t_shirt, "jumper": jumper, "shirt": shirt, "vest": vest},
    "bottom": {"trousers": trousers, "shorts": shorts, "skirt": skirt},
    "footwear": {"boot": boot, "sandal": sandal, "trainer": trainer},
    "accessory": {"hat": hat, "scarf": scarf, "glove": glove},
}
