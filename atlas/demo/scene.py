"""Puts an object into a picture: pose, cloth, background, light, blur and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from atlas.demo.shapes import Part, Points
from atlas.demo.surfaces import (
    FINE,
    PATTERNS,
    SIDE,
    Colour,
    Picture,
    any_colour,
    background,
    scatter,
    weave,
)

PATTERN_SHARES: tuple[float, ...] = (0.46, 0.2, 0.16, 0.18)
FLIP_CHANCE = 0.5
CLUTTER_CHANCE = 0.35


@dataclass(frozen=True)
class Cloth:
    """What an object is made of: pattern name and two RGB colours in [0, 1], (3,) each."""

    pattern: str
    main: Colour
    second: Colour


def dress(main: Colour, rng: np.random.Generator) -> Cloth:
    """Choose pattern and second colour for an object whose main colour is given."""
    name = str(rng.choice(PATTERNS, p=PATTERN_SHARES))
    choice = rng.random()
    if choice < 0.4:
        second: Colour = np.full(3, rng.uniform(0.85, 1.0))
    elif choice < 0.7:
        second = main * rng.uniform(0.25, 0.6)
    else:
        second = any_colour(rng)
    return Cloth(name, main, second)


def draw_scene(
    parts: Sequence[Part], cloth: Cloth, hardness: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one object in a random pose before a random background.

    `hardness` in [0, 1] goes from large, upright and clean to small, turned, hidden and noisy.

    Returns:
        The picture, (SIDE, SIDE, 3) uint8, and where the object is, (SIDE, SIDE) uint8, 255 inside.
    """
    behind = _behind(cloth.main, hardness, rng)
    layer, mask = _paint(_posed(parts, hardness, rng), cloth, rng)
    shadow = Image.fromarray(np.roll(mask, rng.integers(-3, 4, 2), axis=(0, 1)))
    soft = np.asarray(shadow.filter(ImageFilter.GaussianBlur(2)), dtype=np.float32) / 255
    behind = behind * (1 - rng.uniform(0, 0.55) * soft[:, :, None])
    cover = mask[:, :, None].astype(np.float32) / 255
    picture: Picture = behind * (1 - cover) + layer * cover
    if rng.random() < CLUTTER_CHANCE * hardness:
        picture = _covered(picture, rng)
    return _photographed(picture, hardness, rng), mask


def _behind(main: Colour, hardness: float, rng: np.random.Generator) -> Picture:
    """Draw backgrounds until one differs enough from the object to be told apart by eye."""
    best, best_distance = None, -1.0
    for _ in range(4):
        candidate = background(hardness, rng)
        distance = float(np.abs(candidate.mean(axis=(0, 1)) - main).max())
        if distance > 0.3:
            return candidate
        if distance > best_distance:
            best, best_distance = candidate, distance
    assert best is not None
    return best


def _posed(parts: Sequence[Part], hardness: float, rng: np.random.Generator) -> list[Part]:
    """Turn, stretch, shear, shift and crumple all parts alike, into [0, FINE] pixel coordinates."""
    turn = np.deg2rad(rng.normal(0, 17)) if rng.random() < 0.85 else rng.uniform(-np.pi, np.pi) / 2
    turn *= hardness
    size = rng.uniform(0.85 - 0.4 * hardness, 0.98) * np.exp(rng.normal(0, 0.1, 2))
    flip = -1.0 if rng.random() < FLIP_CHANCE else 1.0
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotate @ np.array([[flip, rng.normal(0, 0.13)], [rng.normal(0, 0.06), 1.0]])
    shift = rng.normal(0, 0.14 * hardness, 2)
    phase, bend = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0, 0.07)
    width = float(size.mean()) * FINE / 2

    def place(points: Points) -> Points:
        bent = points + bend * np.sin(3.0 * points[:, ::-1] + phase)
        placed: Points = ((bent * size) @ matrix.T + shift + 1) * (FINE / 2)
        return placed

    return [
        Part(place(part.points), part.tone, None if part.width is None else part.width * width)
        for part in parts
    ]


def _paint(
    parts: Sequence[Part], cloth: Cloth, rng: np.random.Generator
) -> tuple[Picture, NDArray[np.uint8]]:
    """Paint parts in order; returns colours (SIDE, SIDE, 3) in [0, 1] and cover (SIDE, SIDE)."""
    fabric = Image.new("RGB", (FINE, FINE), _ink(cloth.main))
    fabric.paste(_ink(cloth.second), (0, 0, FINE, FINE), Image.fromarray(weave(cloth.pattern, rng)))
    layer, mask = fabric.copy(), Image.new("L", (FINE, FINE))
    tones = {
        "dark": cloth.main * rng.uniform(0.4, 0.68),
        "light": cloth.main + (1 - cloth.main) * rng.uniform(0.35, 0.7),
        "accent": cloth.second,
        "white": np.full(3, rng.uniform(0.82, 1.0)),
        "black": np.full(3, rng.uniform(0.02, 0.2)),
    }
    on_mask, on_layer = ImageDraw.Draw(mask), ImageDraw.Draw(layer)
    for part in parts:
        _stamp(on_mask, part, 255)
        if part.tone != "cloth":
            _stamp(on_layer, part, _ink(tones[part.tone]))
        elif part.width is None and cloth.pattern == "plain":
            _stamp(on_layer, part, _ink(cloth.main))
        else:
            own = Image.new("L", (FINE, FINE))
            _stamp(ImageDraw.Draw(own), part, 255)
            layer.paste(fabric, (0, 0), own)
    return np.asarray(layer.reduce(4), dtype=np.float32) / 255, np.asarray(mask.reduce(4))


def _ink(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (int(255 * channel) for channel in colour.clip(0, 1))
    return red, green, blue


def _stamp(pen: ImageDraw.ImageDraw, part: Part, colour: int | tuple[int, ...]) -> None:
    corners = [(float(x), float(y)) for x, y in part.points]
    if part.width is None:
        pen.polygon(corners, fill=colour)
    else:
        pen.line(corners, fill=colour, width=max(2, round(part.width)), joint="curve")


def _covered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Lay one or two scraps over the picture, so that objects are partly hidden."""
    canvas = Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8)).resize((128, 128))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, 3))):
        scatter(pen, 128, rng)
    return np.asarray(canvas.reduce(2), dtype=np.float32) / 255


def _photographed(picture: Picture, hardness: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add uneven light, a colour cast, blur and sensor noise."""
    across = np.linspace(-1, 1, SIDE, dtype=np.float32)
    tilt = rng.normal(0, 0.16 * hardness, 2)
    light = rng.uniform(1 - 0.38 * hardness, 1.12) * (
        1 + tilt[0] * across[:, None] + tilt[1] * across[None, :]
    )
    lit = picture * light[:, :, None] * rng.normal(1, 0.035, 3)
    image = Image.fromarray((255 * lit.clip(0, 1)).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.1 * hardness))))
    grain = rng.normal(0, 255 * hardness * rng.uniform(0.01, 0.08), (SIDE, SIDE, 3))
    noisy: NDArray[np.uint8] = (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)
    return noisy
