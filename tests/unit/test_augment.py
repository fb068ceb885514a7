"""Varied pictures: each variation by hand, and RandAugment against torchvision's own."""

from collections import Counter
from dataclasses import replace

import numpy as np
from PIL import Image as PilImage
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from atlas.training.augment import MID_GREY, Augmentation, RandAugment

STILL = Augmentation(operations=0, magnitude=9, shift=0.0, flip=False)
FULL = Augmentation(operations=2, magnitude=9, shift=0.125, flip=True)


def noise(side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def varied(how: Augmentation, seed: int, picture: np.ndarray | None = None) -> np.ndarray:
    return how.augment(noise() if picture is None else picture, np.random.default_rng(seed))


def test_torchs_own_dice_are_left_alone() -> None:
    before = torch.get_rng_state()
    varied(FULL, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_do_leaves_the_picture_as_it_is() -> None:
    assert np.array_equal(varied(STILL, 0), noise())


def test_a_shift_fills_the_edge_with_its_mirror_image() -> None:
    """A column of numbers 0–7, shifted by at most 2: row 0 shows 2, 1, 0, 1 or 2."""
    column = np.arange(8, dtype=np.uint8)[:, None, None].repeat(8, axis=1).repeat(3, axis=2)
    shifting = replace(STILL, shift=0.25)
    padded = [2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 6, 5]
    found = set()
    for seed in range(60):
        one = varied(shifting, seed, column)
        found.add(tuple(int(value) for value in one[:, 0, 0]))
    assert found == {tuple(padded[start : start + 8]) for start in range(5)}


def test_half_are_mirrored() -> None:
    """Of 400 pictures 200 ± 10; five deviations are 50."""
    mirroring = replace(STILL, flip=True)
    found = [np.array_equal(varied(mirroring, seed), noise()[:, ::-1]) for seed in range(400)]
    assert 150 < sum(found) < 250


def test_a_shift_and_a_mirroring_together() -> None:
    """A shift of 1/8 of 32 pixels moves by 4 at most; mirroring is a coin."""
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    picture[10:14, 20:24] = 255
    how = replace(FULL, operations=0)
    corners: Counter[str] = Counter()
    for seed in range(60):
        found = varied(how, seed, picture)
        assert (found == varied(how, seed, picture)).all()
        y, x = (int(value) for value in np.argwhere(found[:, :, 0])[0])
        side = "as it was" if 16 <= x <= 24 else "mirrored"
        assert abs(y - 10) <= 4
        assert abs(x - (20 if side == "as it was" else 8)) <= 4
        corners[side] += 1
    assert min(corners.values()) >= 15


def test_every_operation_of_randaugment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """14 operations, drawn twice a picture: 300 leave one out with odds of 14 (13/14)⁶⁰⁰."""
    used: set[str] = set()
    operation = RandAugment._apply_image_or_video_transform

    def spy(self: object, image: object, name: str, *rest: object) -> object:
        used.add(name)
        return operation(self, image, name, *rest)

    monkeypatch.setattr(RandAugment, "_apply_image_or_video_transform", spy)
    for seed in range(300):
        varied(FULL, seed)
    assert used == set(RandAugment._AUGMENTATION_SPACE)


def test_randaugment_is_torchvisions() -> None:
    """Given the same dice: both draw an operation, then a sign where it has one."""
    how = InterpolationMode.BILINEAR
    ours = RandAugment(2, 9, interpolation=how, fill=MID_GREY)
    theirs = v2.RandAugment(2, 9, interpolation=how, fill=MID_GREY)
    picture = PilImage.fromarray(noise())

    class Dice:
        def integers(self, below: int) -> int:
            return int(torch.randint(below, ()))

        def random(self) -> float:
            return float(torch.rand(()))

    with torch.random.fork_rng(devices=[]):
        for seed in range(20):
            torch.manual_seed(seed)
            wanted = np.asarray(theirs(picture))
            torch.manual_seed(seed)
            assert np.array_equal(np.asarray(ours.drawn(picture, Dice())), wanted)
