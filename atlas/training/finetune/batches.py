"""Batches of pictures: the k-th is a function of the seed and k, so a resumption needs no state.

Every stream of images is an endless row of shuffled epochs. A batch takes the next positions of it,
and a picture is augmented with the randomness of its position.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.utils.data import Dataset

from atlas.backbone import Backbone
from atlas.errors import ImageError, SettingsError, Stopped
from atlas.images import open_image
from atlas.settings import Settings
from atlas.training.augment import Augmentation
from atlas.training.finetune.material import Material

LABELLED, UNLABELLED, NETWORK = range(3)  # streams of randomness


class Batch(NamedTuple):
    """One process's share of a step: (n, S, S, 3) or (m, S, S, 3) uint8, as the network sees them.

    Attributes:
        labelled: augmented labelled images.
        clean: unlabelled images as they are.
        augmented: the same images augmented.
        error: why an image could not be read; all is empty then.
    """

    labelled: Tensor
    clean: Tensor
    augmented: Tensor
    error: str = ""


@dataclass(frozen=True)
class Share:
    """Which part of every batch is this process's: the `rank`-th of `world`."""

    rank: int = 0
    world: int = 1

    def of(self, positions: range) -> range:
        """A contiguous part; the parts of all ranks make the whole."""
        start, stop = (len(positions) * (self.rank + i) // self.world for i in (0, 1))
        return positions[start:stop]


WHOLE = Share()


class Batches(Dataset[Batch]):
    """Step k → one process's share of the k-th batch.

    Args:
        material: whose images.
        settings: of the project; unlabelled images are left alone where `uda.weight` is 0.
        backbone: prepares pictures.
        share: of this process.

    Attributes:
        given_up: nobody waits for the batch that is being made; it ends before the next picture.

    Raises:
        SettingsError: fewer images in a batch than processes.
    """

    def __init__(
        self, material: Material, settings: Settings, backbone: Backbone, share: Share
    ) -> None:
        self.locations = {
            LABELLED: material.labelled,
            UNLABELLED: material.unlabelled if settings.uda.weight else (),
        }
        size = settings.finetune.batch_size
        if size < share.world:
            raise SettingsError(
                f"finetune.batch_size = {size} cannot be shared by {share.world} processes; raise "
                f"it to {share.world} or start fewer processes"
            )
        self.sizes = {
            LABELLED: size,
            UNLABELLED: size * settings.uda.ratio if self.locations[UNLABELLED] else 0,
        }
        self.vary = {
            stream: Augmentation(
                operations=section.augment_ops,
                magnitude=section.augment_magnitude,
                shift=settings.finetune.shift,
                flip=settings.finetune.flip,
            )
            for stream, section in ((LABELLED, settings.finetune), (UNLABELLED, settings.uda))
        }
        self.prepare, self.side = backbone.prepare, backbone.image_size
        self.seed, self.share = settings.seed, share
        self.given_up = False

    @property
    def labelled_size(self) -> int:
        """Labelled images in a whole batch."""
        return self.sizes[LABELLED]

    @property
    def unlabelled_size(self) -> int:
        """Unlabelled images in a whole batch."""
        return self.sizes[UNLABELLED]

    def __getitem__(self, step: int) -> Batch:
        """See `Batch`."""
        try:
            _, labelled = self._pictures(step, LABELLED)
            clean, augmented = self._pictures(step, UNLABELLED)
        except ImageError as error:  # as text: a worker process would bury it in its traceback
            nothing = self._stack([])
            return Batch(nothing, nothing, nothing, str(error))
        return Batch(labelled, clean, augmented)

    def rows(self, step: int, share: Share = WHOLE) -> NDArray[np.intp]:
        """Which labelled images a share of a step's batch holds, in its order."""
        return self._drawn(LABELLED, share.of(self._positions(step, LABELLED)))

    def _pictures(self, step: int, stream: int) -> tuple[Tensor, Tensor]:
        """The share's pictures of a stream as they are, and augmented."""
        positions = self.share.of(self._positions(step, stream))
        clean, augmented = [], []
        for row, position in zip(self._drawn(stream, positions), positions, strict=True):
            if self.given_up:
                raise Stopped("nobody waits for this batch any more")
            clean.append(self.prepare(open_image(self.locations[stream][row])))
            dice = np.random.default_rng([self.seed, stream, position])
            augmented.append(self.vary[stream].augment(clean[-1], dice))
        return self._stack(clean), self._stack(augmented)

    def _positions(self, step: int, stream: int) -> range:
        size = self.sizes[stream]
        return range(step * size, (step + 1) * size)

    def _drawn(self, stream: int, positions: range) -> NDArray[np.intp]:
        count = len(self.locations[stream])
        drawn = [_epoch(self.seed, stream, p // count, count)[p % count] for p in positions]
        return np.array(drawn, dtype=np.intp)

    def _stack(self, pictures: list[NDArray[np.uint8]]) -> Tensor:
        if not pictures:
            return torch.empty((0, self.side, self.side, 3), dtype=torch.uint8)
        return torch.from_numpy(np.stack(pictures))


def seed_of(seed: int, *path: int) -> int:
    """A seed of 64 bits for each path of numbers, such as stream and position."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=4)
def _epoch(seed: int, stream: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, stream, epoch]).permutation(count)
