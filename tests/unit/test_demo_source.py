"""What the small backbone is pretrained on holds nothing that the demo asks about."""

import numpy as np
import pytest

from atlas.demo import garments
from atlas.demo.doodles import doodle
from atlas.demo.objects import OBJECTS
from atlas.demo.source import CLASSES, FACTS, THINGS, VALVES, draw_source
from atlas.demo.wardrobe import WARDROBE


def test_no_class_is_a_garment_a_category_or_a_colour() -> None:
    demo = {part for leaf in garments.LEAVES for part in leaf.split("/")} | set(garments.COLOURS)
    assert not demo & set(CLASSES)
    clothes = {outline for found in WARDROBE.values() for outline in found.values()}
    assert not clothes & set(OBJECTS.values())


def test_classes_are_named_once() -> None:
    assert len(set(CLASSES)) == len(CLASSES) == len(THINGS) + len(VALVES)


def test_doodles_of_one_class_are_alike_and_of_two_differ() -> None:
    one, again, other = (
        doodle(number, np.random.default_rng(seed)) for number, seed in ((1, 0), (1, 1), (2, 0))
    )
    assert [part.tone for part in one] == [part.tone for part in again]
    assert [len(part.points) for part in one] == [len(part.points) for part in again]
    assert [len(part.points) for part in one] != [len(part.points) for part in other]


def test_source_set_is_reproducible_and_knows_its_facts() -> None:
    source = draw_source(things=30, homes=2, seed=1)
    again = draw_source(things=30, homes=2, seed=1)
    assert np.array_equal(source.pictures, again.pictures)
    assert source.pictures.shape == (40, 64, 64, 3)  # 30 things and 30 / 3 = 10 events
    assert [CLASSES[index] in THINGS for index in source.classes] == [True] * 30 + [False] * 10
    known = ~np.isnan(source.facts)
    assert known[:30].tolist() == [[True] * 3 + [False] * 4] * 30
    assert known[30:].tolist() == [[False] * 3 + [True] * 4] * 10
    assert len(FACTS) == 7


@pytest.mark.parametrize("leaf", garments.LEAVES)
def test_every_garment_draws_in_every_colour(leaf: str) -> None:
    for colour in garments.COLOURS:
        picture, size = garments.draw_garment(leaf, colour, np.random.default_rng(0))
        assert 0 < size <= 100
        assert picture.shape == (64, 64, 3)
        assert picture.dtype == np.uint8


def test_named_colours_look_like_their_name() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        red, green, blue = garments.shade("red", rng)
        assert red > 2 * max(green, blue) - 0.01
        red, green, blue = garments.shade("blue", rng)
        assert blue > max(red, green)
        assert np.ptp(garments.shade("grey", rng)) < 0.08
