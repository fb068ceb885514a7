"""Drawn clothes: taxonomy, colours, and one picture of a garment with its size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.demo.scene import draw_scene, dress
from atlas.demo.surfaces import Colour, hsv
from atlas.demo.wardrobe import WARDROBE

LEVELS: tuple[str, ...] = ("category", "garment")
TREE: dict[str, list[str]] = {category: list(found) for category, found in WARDROBE.items()}
LEAVES: tuple[str, ...] = tuple(
    f"{category}/{garment}" for category, garments in TREE.items() for garment in garments
)
COLOURS: tuple[str, ...] = ("red", "orange", "yellow", "green", "blue", "purple", "grey")
SIZE = "size"  # see `extent`; the pose draws it, whatever the garment

# Chosen so that 20 labels leave a frozen backbone wrong often, and 120 make it much better.
HARDNESS = 0.45

# Hue (turns) from which to which; neighbours leave a gap so that a person can name each colour.
_HUES = {
    "red": (-0.03, 0.015),
    "orange": (0.06, 0.09),
    "yellow": (0.135, 0.165),
    "green": (0.26, 0.42),
    "blue": (0.54, 0.66),
    "purple": (0.75, 0.85),
}


def draw_garment(
    leaf: str, colour: str, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], float]:
    """Draw one garment in one colour: (64, 64, 3) uint8, and its size in percent (see `extent`).

    `leaf` is one of LEAVES and `colour` one of COLOURS, else KeyError.
    """
    category, garment = leaf.split("/")
    parts = WARDROBE[category][garment](rng)
    picture, mask = draw_scene(parts, dress(shade(colour, rng), rng), HARDNESS, rng)
    return picture, extent(mask)


def extent(mask: NDArray[np.uint8]) -> float:
    """How far an object reaches: across or down, whichever is more, in percent of the side.

    A row or column counts as much as its most covered pixel, so that an edge may lie inside one.

    Args:
        mask: (SIDE, SIDE), 255 where the object is.
    """
    across, down = (float(mask.max(axis=axis).sum(dtype=np.int64)) for axis in (0, 1))
    return 100 * max(across, down) / 255 / len(mask)


def shade(colour: str, rng: np.random.Generator) -> Colour:
    """Draw one RGB shade of a named colour: (3,) in [0, 1]."""
    if colour == "grey":
        return hsv(rng.random(), rng.uniform(0, 0.08), rng.uniform(0.3, 0.75))
    low, high = _HUES[colour]
    return hsv(rng.uniform(low, high), rng.uniform(0.6, 1.0), rng.uniform(0.55, 1.0))
