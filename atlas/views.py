"""Augmented views of images, kept as bottlenecks: what training with augmentation needs, no pixels.

A view is an image varied as in fine-tuning, see `atlas.training.augment`. Its dice are thrown from
the project's seed, the image's content hash and the view's number alone, so it is the same whenever
it is made, and all of them are part of its key.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
import hashlib
import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from sqlalchemy import select
import torch

from atlas.backbone import Backbone
from atlas.bottleneck import BottleneckCache
from atlas.embedding import Progress, Work, embedded, keep, open_cache
from atlas.labels import training_labels
from atlas.project import Project
from atlas.settings import Settings
from atlas.store.tables import Image
from atlas.training.augment import Augmentation
from atlas.training.uda_heads import ViewRows
from atlas.types import Rows

VERSION = 1  # of `Augmentation.augment`: raise it with any change to what comes out


@dataclass(frozen=True, kw_only=True)
class Recipe(Augmentation):
    """How views are made.

    Attributes:
        seed: of all dice.
        version: of the code.
    """

    seed: int
    version: int

    def key(self, view: int) -> str:
        """The name of the cache of view number `view`: another recipe has another."""
        facts = json.dumps(asdict(self), sort_keys=True)
        return f"augmented-{hashlib.sha256(facts.encode()).hexdigest()[:12]}-{view}"

    def dice(self, sha256: str, view: int) -> np.random.Generator:
        """The random numbers that make view `view` of the image with that content hash."""
        return np.random.default_rng([self.seed, view, int(sha256, 16)])


def recipe_of(settings: Settings) -> Recipe:
    """The augmentation of unlabelled images in fine-tuning, with the project's seed."""
    uda, finetune = settings.uda, settings.finetune
    return Recipe(
        seed=settings.seed,
        operations=uda.augment_ops,
        magnitude=uda.augment_magnitude,
        shift=finetune.shift,
        flip=finetune.flip,
        version=VERSION,
    )


@dataclass(frozen=True)
class Views:
    """The M views of a set of images.

    Attributes:
        caches: M caches, one a view.
        computed: bottlenecks that were not there yet.
        left_out: image id → why it could not be read.
    """

    caches: tuple[BottleneckCache, ...]
    computed: int
    left_out: dict[str, str] = field(default_factory=dict)

    def read(self, hashes: Sequence[str], clean: Rows) -> NDArray[np.float16]:
        """(M, N, D) bottlenecks; an image that could not be read has its clean one in each view.

        Args:
            hashes: N content hashes.
            clean: their (N, D) clean bottlenecks.
        """
        result = np.stack([np.asarray(clean[:], dtype=np.float16)] * len(self.caches))
        for view, cache in enumerate(self.caches):
            lost = set(cache.missing(hashes).tolist())
            there = [i for i in range(len(hashes)) if i not in lost]
            result[view, there] = cache.read([hashes[i] for i in there])
        return result


def open_view(project: Project, backbone: Backbone, view: int) -> BottleneckCache:
    """The cache of view number `view`, as the project's settings make it."""
    return BottleneckCache(
        project.bottlenecks,
        fingerprint=backbone.fingerprint,
        features=backbone.features,
        view=recipe_of(project.settings).key(view),
    )


def cache_views(
    project: Project,
    backbone: Backbone,
    image_ids: Sequence[str],
    *,
    count: int,
    progress: Progress | None = None,
) -> Views:
    """Compute the views that are missing; a second call computes nothing.

    What is finished is written at once: a kill loses one batch at most.

    Args:
        project: whose images.
        backbone: embeds them.
        image_ids: which of them.
        count: M, how many views of each.
        progress: called with (done, total) over all views, the cached ones counted as done.

    Raises:
        BackboneError: see `Backbone`.
        DiskFull: no room; finished batches are kept.
    """
    recipe = recipe_of(project.settings)
    wanted = set(image_ids)
    with project.database.reader() as session:
        rows = session.execute(select(Image.id, Image.sha256, Image.location).order_by(Image.id))
        work = [
            Work(image_id, sha256, project.absolute(location))
            for image_id, sha256, location in rows
            if image_id in wanted
        ]
    caches = tuple(open_view(project, backbone, view) for view in range(count))
    computed, done, left_out = 0, 0, {}
    for view, cache in enumerate(caches):
        cache.verify()
        missing = [work[i] for i in cache.missing([one.sha256 for one in work])]
        done += len(work) - len(missing)
        prepare = partial(_view, backbone=backbone, recipe=recipe, view=view)
        for part in embedded(missing, backbone, prepare=prepare):
            left_out.update(keep(part, cache))
            computed += len(part.hashes)
            done += len(part.hashes) + len(part.left_out)
            if progress is not None:
                progress(done, len(work) * count)
        cache.compact()
    return Views(caches, computed, left_out)


def training_views(
    project: Project, backbone: Backbone, *, progress: Progress | None = None
) -> Views:
    """Cache what `head.views` asks for: views of the labelled images and of a sample of the pool.

    Without a weight for UDA no unlabelled image is looked at. Raises as `cache_views`.
    """
    with project.database.reader() as session:
        labelled = list(training_labels(session))
    wanted = [*labelled, *_sample(project)]
    count = project.settings.head.views
    return cache_views(project, backbone, wanted, count=count, progress=progress)


def view_rows(project: Project, backbone: Backbone, labelled: Sequence[str]) -> ViewRows:
    """The views to train a head on, computed where they are missing.

    Args:
        project: its settings say how many.
        backbone: whose bottlenecks.
        labelled: ids of the N labelled images, in the order of their labels. They are left out of
            the unlabelled sample, so that a fold's images teach nothing before they test.

    Raises:
        CacheError: an image has no clean bottleneck; embed first.
        BackboneError: see `Backbone`.
        DiskFull: no room; finished batches are kept.
    """
    settings, cache, known = project.settings, open_cache(project, backbone), set(labelled)
    sample = [image_id for image_id in _sample(project) if image_id not in known]
    views = cache_views(project, backbone, [*labelled, *sample], count=settings.head.views)
    with project.database.reader() as session:
        hashes = dict(session.execute(select(Image.id, Image.sha256)).all())
    with_label, without = ([hashes[one] for one in ids] for ids in (labelled, sample))
    clean = cache.read(without)
    return ViewRows(
        torch.from_numpy(views.read(with_label, cache.rows(with_label))),
        torch.from_numpy(clean),
        torch.from_numpy(views.read(without, clean)),
        settings.uda,
        settings.head.steps,
    )


def _sample(project: Project) -> list[str]:
    """The unlabelled images that training looks at, some of which may have got a label since."""
    settings = project.settings
    return unlabelled_sample(project, settings.head.views_sample) if settings.uda.weight else []


def unlabelled_sample(project: Project, size: int) -> list[str]:
    """Ids of `size` pool images, uniformly at random, in order of id; all where there are no more.

    An image's place in the draw depends on its content and the seed alone, so that new images move
    few others out of the sample, and the views cached for it stay of use.
    """
    with project.database.reader() as session:
        found = session.execute(select(Image.id, Image.sha256).where(Image.split == "pool"))
        lots = [(_lot(project.settings.seed, sha256), image_id) for image_id, sha256 in found]
    return sorted(image_id for _, image_id in sorted(lots)[:size])


def _lot(seed: int, sha256: str) -> str:
    return hashlib.sha256(f"views {seed} {sha256}".encode()).hexdigest()


def _view(
    picture: PilImage.Image, sha256: str, *, backbone: Backbone, recipe: Recipe, view: int
) -> NDArray[np.uint8]:
    return recipe.augment(backbone.prepare(picture), recipe.dice(sha256, view))
