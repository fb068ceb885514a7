"""The photos, labels and frozen heads of the fine-tuning benchmark."""

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.backbone import Backbone
from atlas.evaluation import count_correct
from atlas.heads import Head
from atlas.images import find_images, open_image
from atlas.settings import BackboneSettings, HeadSettings
from atlas.taxonomy import Taxonomy, from_paths
from atlas.training.fit_heads import fit_head, moments
from atlas.training.uda_heads import ViewRows
from atlas.types import LABEL

SAMPLE = 5000  # images of the pool by which bottlenecks are standardised

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Photos:
    """Where images are, and the truth that their folders tell."""

    locations: tuple[str, ...]
    truth: tuple[str, ...]

    @classmethod
    def under(cls, path: Path) -> "Photos":
        """All of a folder or of a folder in a zip."""
        found = find_images(path)
        return cls(
            tuple(one.location for one in found),
            tuple(str(Path(one.name).parent) for one in found),
        )

    def some(self, rows: NDArray[np.intp]) -> "Photos":
        """Those of these rows."""
        return Photos(*(tuple(part[i] for i in rows) for part in (self.locations, self.truth)))

    def labels(self) -> list[Mapping[str, str]]:
        """The truth as labels."""
        return [{LABEL: leaf} for leaf in self.truth]


@dataclass(frozen=True)
class Draw:
    """The images of one run."""

    labelled: Photos
    rest: Photos
    seed: int


class Bench:
    """What all runs share.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.train = Photos.under(arguments.cifar / "train")
        self.test = self._tested()
        self.taxonomy: Taxonomy = from_paths(self.train.truth)
        self.settings = BackboneSettings(
            name=arguments.arch,
            checkpoint=str(arguments.checkpoint.resolve()),
            image_size=arguments.image_size,
            interpolation=arguments.interpolation,
        )

    def _tested(self) -> Photos:
        photos = Photos.under(self.arguments.cifar / "test")
        rows = np.random.default_rng(0).permutation(len(photos.truth))[: self.arguments.test]
        return photos.some(rows)

    @cached_property
    def backbone(self) -> Backbone:
        """Frozen."""
        return Backbone(self.settings)

    @cached_property
    def sample(self) -> NDArray[np.float16]:
        """Bottlenecks of some of the pool, which standardise all others."""
        rows = np.random.default_rng(0).permutation(len(self.train.truth))[:SAMPLE]
        return rows_of(self.backbone, self.train.some(rows))

    def draw(self, labels: int, seed: int) -> Draw:
        """Random labelled images; the same for every method."""
        order = np.random.default_rng([seed, labels]).permutation(len(self.train.truth))
        return Draw(self.train.some(order[:labels]), self.train.some(order[labels:]), seed)

    def accuracy(self, backbone: Backbone, head: Head) -> dict[str, float]:
        """Level → accuracy on the test images."""
        counts = count_correct(head, rows_of(backbone, self.test), self.test.labels())
        return {level: right / n for level, (right, n) in counts.items()}

    def frozen_head(self, draw: Draw, views: ViewRows | None = None) -> Head:
        """A head on frozen bottlenecks, also of views where there are any."""
        return fit_head(
            rows_of(self.backbone, draw.labelled),
            draw.labelled.labels(),
            taxonomy=self.taxonomy,
            settings=HeadSettings(),
            pool_moments=moments(self.sample),
            rng=np.random.default_rng(draw.seed),
            views=views,
        ).head


def rows_of(
    backbone: Backbone, photos: Photos, change: Callable[[int], Pixels] | None = None
) -> NDArray[np.float16]:
    """(N, D) bottlenecks of photos as they are, or of what `change` makes of the i-th."""

    def clean(i: int) -> Pixels:
        return backbone.prepare(open_image(photos.locations[i]))

    size, count = backbone.settings.batch_size, len(photos.locations)
    parts = [range(start, min(start + size, count)) for start in range(0, count, size)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = [backbone.embed(np.stack(list(pool.map(change or clean, part)))) for part in parts]
    return np.concatenate(made)
