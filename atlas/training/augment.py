"""Variations of a picture: RandAugment, a shift and a mirroring, by dice that the caller throws."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from torchvision.transforms import InterpolationMode, v2

MID_GREY = [128, 128, 128]


@dataclass(frozen=True)
class Augmentation:
    """How pictures are varied.

    Attributes:
        operations: of RandAugment (1909.13719), 0 or more.
        magnitude: of each, one of torchvision's bins 0 to 30.
        shift: how far at most, as a share of the side, [0, 1).
        flip: whether one picture in two is mirrored.
    """

    operations: int
    magnitude: int
    shift: float
    flip: bool

    def augment(self, pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """(S, S, 3) as the network sees it → the same shape, varied."""
        varied = np.asarray(self._randaugment.drawn(PilImage.fromarray(pixels), rng))
        side = len(pixels)
        room = round(side * self.shift)
        y, x = rng.integers(2 * room + 1, size=2)
        # rows and columns by number: to pad the picture itself takes at least five times as long
        numbers = _reflected(side, room)
        rows, columns = numbers[y : y + side], numbers[x : x + side]
        if self.flip and rng.random() < 0.5:
            columns = columns[::-1]
        return varied.take(rows, axis=0).take(columns, axis=1)

    @cached_property
    def _randaugment(self) -> "RandAugment":
        how = InterpolationMode.BILINEAR
        return RandAugment(self.operations, self.magnitude, interpolation=how, fill=MID_GREY)


@lru_cache(maxsize=8)
def _reflected(side: int, room: int) -> NDArray[np.intp]:
    """(side + 2 · room,): 0 to side − 1, continued at both ends by their mirror images."""
    return np.pad(np.arange(side), room, mode="reflect")


class RandAugment(v2.RandAugment):  # type: ignore[misc]  # torchvision has no types
    """Torchvision's operations with dice of their own; its dice are global, shared by threads."""

    def drawn(self, image: PilImage.Image, rng: np.random.Generator) -> PilImage.Image:
        """The picture after operations drawn by `rng`."""
        names = tuple(self._AUGMENTATION_SPACE)
        for _ in range(self.num_ops):
            name = names[int(rng.integers(len(names)))]
            strengths, signed = self._AUGMENTATION_SPACE[name]
            known = strengths(self.num_magnitude_bins, *reversed(image.size))
            strength = 0.0 if known is None else float(known[self.magnitude])
            if signed and rng.random() < 0.5:
                strength = -strength
            image = self._apply_image_or_video_transform(
                image, name, strength, self.interpolation, self._fill
            )
        return image
