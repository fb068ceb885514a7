"""Colours, cloth patterns and backgrounds, shared by every drawn picture."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 64
FINE = 4 * SIDE
PATTERNS: tuple[str, ...] = ("plain", "stripes", "dots", "checks")

# Any width: arithmetic with Python floats keeps float32, with drawn numbers it gives float64.
Picture = NDArray[np.floating[Any]]
Colour = NDArray[np.floating[Any]]

_Y, _X = np.mgrid[0:FINE, 0:FINE].astype(np.float32) / FINE


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Convert hue (turns, wraps around), saturation and value in [0, 1] to RGB in [0, 1], (3,)."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), dtype=np.float32)


def any_colour(rng: np.random.Generator) -> Colour:
    """Draw any colour, grey ones included: (3,) in [0, 1]."""
    return hsv(rng.random(), rng.uniform(0, 1) ** 0.7, rng.uniform(0.15, 1.0))


def weave(name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give the share of the second colour over a fine canvas of cloth: (FINE, FINE), 255 is all.

    `name` is one of PATTERNS; less than half is covered.
    """
    if name == "plain":
        return np.zeros((FINE, FINE), dtype=np.uint8)
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    count, thin = rng.uniform(5, 11), rng.uniform(0.22, 0.42)
    u = (_X * np.float32(np.cos(angle) * count) + _Y * np.float32(np.sin(angle) * count)) % 1
    if name == "stripes":
        return np.where(u < thin, np.uint8(255), np.uint8(0))
    v = (_Y * np.float32(np.cos(angle) * count) - _X * np.float32(np.sin(angle) * count)) % 1
    if name == "dots":
        inside = (u - 0.5) ** 2 + (v - 0.5) ** 2 < (thin * 0.9) ** 2
        return np.where(inside, np.uint8(255), np.uint8(0))
    if name == "checks":
        crossed: NDArray[np.uint8] = (u < thin) * np.uint8(127) + (v < thin) * np.uint8(127)
        return crossed
    raise ValueError(f"got pattern {name!r}, wanted one of {PATTERNS}")


def background(hardness: float, rng: np.random.Generator) -> Picture:
    """Draw what lies behind an object: (SIDE, SIDE, 3) in [0, 1], busier the harder it is."""
    busy = rng.random() < hardness
    draw = _BACKGROUNDS[rng.choice(len(_BACKGROUNDS), p=_SHARES)] if busy else _plain
    return draw(rng)


def _plain(rng: np.random.Generator) -> Picture:
    return np.broadcast_to(any_colour(rng), (SIDE, SIDE, 3))


def _gradient(rng: np.random.Generator) -> Picture:
    first, last = any_colour(rng), any_colour(rng)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (_X[::4, ::4] - 0.5) * np.cos(angle) + (_Y[::4, ::4] - 0.5) * np.sin(angle) + 0.5
    blend: Picture = first + ramp[:, :, None].clip(0, 1) * (last - first)
    return blend


def _textured(rng: np.random.Generator) -> Picture:
    cells = int(rng.integers(4, 24))
    coarse = rng.random((cells, cells)).astype(np.float32)
    grain = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    base = any_colour(rng)
    other = (base + any_colour(rng)) / 2 if rng.random() < 0.5 else base * 0.55
    blend: Picture = base + grain[:, :, None].clip(0, 1) * (other - base)
    return blend


def _boards(rng: np.random.Generator) -> Picture:
    name = str(rng.choice(PATTERNS[1:]))
    base = any_colour(rng)
    share = weave(name, rng).reshape(SIDE, 4, SIDE, 4).mean(axis=(1, 3), dtype=np.float32) / 255
    boards: Picture = base * (1 - share[:, :, None] * rng.uniform(0.1, 0.4))
    return boards


def _clutter(rng: np.random.Generator) -> Picture:
    canvas = Image.fromarray((255 * _gradient(rng)).astype(np.uint8)).resize((2 * SIDE, 2 * SIDE))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(4, 14))):
        scatter(pen, 2 * SIDE, rng)
    return np.asarray(canvas.reduce(2), dtype=np.float32) / 255


def scatter(pen: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Draw one meaningless scrap (line, box or blob) somewhere on a canvas of `side` pixels."""
    colour = tuple(int(c) for c in 255 * any_colour(rng))
    x, y = rng.uniform(-0.1, 1.1, 2) * side
    dx, dy = rng.uniform(-0.3, 0.3, 2) * side
    kind = rng.integers(3)
    if kind == 0:
        pen.line([x, y, x + 2 * dx, y + 2 * dy], fill=colour, width=int(rng.uniform(1, 7)))
    elif kind == 1:
        pen.polygon([x, y, x + dx, y + dy / 3, x + dx / 2, y + dy], fill=colour)
    else:
        rx, ry = abs(dx) / 2, abs(dy) / 2
        pen.ellipse([x - rx, y - ry, x + rx, y + ry], fill=colour)


_BACKGROUNDS = (_plain, _gradient, _textured, _boards, _clutter)
_SHARES = (0.15, 0.2, 0.25, 0.15, 0.25)
