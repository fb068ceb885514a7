"""The style sheet's colours: what is read has enough contrast in light and in dark."""

from pathlib import Path
import re

import pytest

SHEET = Path(__file__).parents[2] / "services" / "dashboard" / "static" / "atlas.css"
PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
COLOURS = {name: shades for name, *shades in PAIR.findall(SHEET.read_text())}
TEXT = 4.5  # WCAG 2.2, 1.4.3
SHAPE = 3.0  # WCAG 2.2, 1.4.11
SHAPES = ("edge", "accent", *(f"c{place}" for place in range(6)))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground", "least"),
    [
        *[
            (ink, ground, TEXT)
            for ink in ("ink", "soft", "accent")
            for ground in ("card", "ground")
        ],
        *[(ink, ground, TEXT) for ink in ("good", "bad") for ground in ("card", "ground")],
        ("accent", "wash", TEXT),
        ("on-accent", "accent", TEXT),
        ("good", "good-wash", TEXT),
        ("bad", "bad-wash", TEXT),
        *[(shape, ground, SHAPE) for shape in SHAPES for ground in ("card", "ground")],
    ],
)
def test_contrast(ink: str, ground: str, least: float, shade: int) -> None:
    assert contrast(COLOURS[ink][shade], COLOURS[ground][shade]) >= least
