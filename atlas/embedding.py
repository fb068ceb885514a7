"""Fills the bottleneck cache; decoding and the network's forwards overlap."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache, partial
import hashlib
from itertools import islice
import os
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from sqlalchemy import delete, select
import torch

from atlas.answering import backbone_settings
from atlas.backbone import Backbone
from atlas.bottleneck import BottleneckCache
from atlas.errors import ImageError, Stopped
from atlas.images import decode, read_bytes
from atlas.pool import LOST, set_aside
from atlas.project import Project
from atlas.settings import BackboneSettings
from atlas.store.tables import Image, LeftOut, QueryRow

Progress = Callable[[int, int], None]
Prepare = Callable[[PilImage.Image, str], NDArray[np.uint8]]  # picture, SHA-256 → (S, S, 3)
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float16]]  # (N, S, S, 3) → (N, D)


@dataclass(frozen=True)
class EmbedReport:
    """What an embed did. `images_per_s` counts the computed ones; 0 where nothing was to do."""

    fingerprint: str
    total: int
    computed: int
    damaged_shards: int
    seconds: float
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def images_per_s(self) -> float:
        """Throughput of what was computed."""
        return self.computed / self.seconds if self.computed else 0.0


@dataclass(frozen=True)
class Work:
    """An image to embed: its id, the SHA-256 of its bytes and where they are."""

    image_id: str
    sha256: str
    location: str


@dataclass(frozen=True)
class Part:
    """Some of the work, done.

    Attributes:
        hashes: of the n images that could be read.
        vectors: (n, D), as the hashes.
        left_out: image id → why it could not be read.
    """

    hashes: list[str]
    vectors: NDArray[np.float16]
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Recipe:
    prepare: Prepare
    embed: Embed


def open_cache(project: Project, backbone: Backbone) -> BottleneckCache:
    """The project's cache for that backbone."""
    return BottleneckCache(
        project.bottlenecks, fingerprint=backbone.fingerprint, features=backbone.features
    )


def embed_pool(
    project: Project,
    *,
    backbone: Backbone | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> EmbedReport:
    """Compute the bottlenecks that are missing; a second call computes nothing.

    What is finished is written at once and one batch at most is in work, so a kill loses no more.
    Images that have become unreadable since they were ingested are left out and listed.

    Args:
        project: whose images.
        backbone: the project's own where None.
        progress: called with (done, total), the cached ones counted as done.
        should_stop: asked after every batch.

    Raises:
        BackboneError: see `Backbone`.
        DiskFull: no room; finished batches are kept.
        Stopped: `should_stop` said so; finished batches are kept.
    """
    backbone = backbone or project_backbone(project)
    cache = open_cache(project, backbone)
    cache.verify()
    with project.database.reader() as session:
        rows = session.execute(select(Image.id, Image.sha256, Image.location)).all()
    missing = cache.missing([row.sha256 for row in rows])
    work = [Work(rows[i].id, rows[i].sha256, project.absolute(rows[i].location)) for i in missing]
    started = time.perf_counter()
    done, left_out = len(rows) - len(work), {}
    with closing(embedded(work, backbone)) as parts:
        for part in parts:
            left_out.update(keep(part, cache))
            done += len(part.hashes) + len(part.left_out)
            if progress is not None:
                progress(done, len(rows))
            if done < len(rows) and should_stop():
                raise Stopped(f"embedding stopped at {done} of {len(rows)} images, which are kept")
    seconds = time.perf_counter() - started
    cache.compact()
    _settle(project, left_out)
    return EmbedReport(
        fingerprint=backbone.fingerprint,
        total=len(rows),
        computed=len(work) - len(left_out),
        damaged_shards=len(cache.damaged),
        seconds=seconds,
        left_out={one.location: left_out[one.image_id] for one in work if one.image_id in left_out},
    )


def keep(part: Part, cache: BottleneckCache) -> dict[str, str]:
    """Write a part to the disk; what it left out, image id → reason.

    Raises:
        DiskFull: no room.
    """
    if part.hashes:
        cache.put(part.hashes, part.vectors)
    return part.left_out


def embedded(
    work: Sequence[Work],
    backbone: Backbone,
    *,
    prepare: Prepare | None = None,
    embed: Embed | None = None,
) -> Generator[Part, None, None]:
    """Parts of the work as they are finished; together they hold one batch at any time.

    On a CPU every core takes parts of its own, decodes them and runs the network on one thread:
    cores never wait for each other at the barriers inside a layer, and decoding fills no gap that a
    forward needs. On an accelerator two parts take turns, and a pool of threads decodes for both.

    Args:
        work: which images.
        backbone: what embeds them.
        prepare: makes pixels of a picture; `backbone.prepare` where None.
        embed: makes vectors of pixels; `backbone.embed` where None.

    Raises:
        BackboneError: a bottleneck is not finite.
    """
    recipe = _Recipe(
        prepare or (lambda picture, _: backbone.prepare(picture)), embed or backbone.embed
    )
    cores = os.cpu_count() or 1
    on_cpu = backbone.device.type == "cpu"
    workers = cores if on_cpu else 2
    size = max(1, backbone.settings.batch_size // workers)
    parts = iter([work[start : start + size] for start in range(0, len(work), size)])
    threads = torch.get_num_threads()
    one_thread = partial(torch.set_num_threads, 1 if on_cpu else threads)
    try:
        with (
            ThreadPoolExecutor(cores) as decoders,
            ThreadPoolExecutor(workers, initializer=one_thread) as forwards,
        ):
            each = map if on_cpu else decoders.map
            running = {
                forwards.submit(_embed, part, recipe, each) for part in islice(parts, workers)
            }
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for part in islice(parts, len(finished)):
                    running.add(forwards.submit(_embed, part, recipe, each))
                for future in finished:
                    yield future.result()
    finally:
        torch.set_num_threads(threads)


def _embed(work: Sequence[Work], recipe: _Recipe, each: Callable[..., Any]) -> Part:
    pixels = list(each(partial(_pixels, recipe.prepare), work))
    good = [i for i, one in enumerate(pixels) if not isinstance(one, ImageError)]
    vectors: NDArray[np.float16] = np.zeros((0, 0), dtype=np.float16)
    if good:
        vectors = recipe.embed(np.stack([pixels[i] for i in good]))
    failed = {work[i].image_id: str(one) for i, one in enumerate(pixels) if i not in set(good)}
    return Part([work[i].sha256 for i in good], vectors, failed)


def _pixels(prepare: Prepare, item: Work) -> NDArray[np.uint8] | ImageError:
    try:
        content = read_bytes(item.location)
        if hashlib.sha256(content).hexdigest() != item.sha256:
            return ImageError(f"{item.location} has changed since it was ingested")
        return prepare(decode(content, item.location), item.sha256)
    except ImageError as error:
        return error


def _settle(project: Project, left_out: dict[str, str]) -> None:
    """Take unreadable images out of the pool, and back in the lost ones that were found again.

    An image that was asked about keeps its row for the sake of its label, but counts as lost.
    """
    with project.database.session() as session:
        for image in session.scalars(select(Image).where(Image.split.startswith(LOST))):
            if image.id not in left_out:
                image.split = image.split.removeprefix(LOST)
                session.execute(delete(LeftOut).where(LeftOut.location == image.location))
        for image_id, reason in left_out.items():
            image = session.get_one(Image, image_id)
            set_aside(session, image, reason)
            asked = select(QueryRow.uid).where(QueryRow.image_id == image_id).limit(1)
            if session.scalar(asked) is None:
                session.delete(image)


def project_backbone(project: Project) -> Backbone:
    """The backbone that answers now, loaded once a process and again when its checkpoint changes.

    That of atlas.toml, or the fine-tuned one that the present model reads.

    Raises:
        BackboneError: see `Backbone`.
        ModelError: the present model's facts cannot be read.
    """
    settings = backbone_settings(project)
    return _load(settings.model_dump_json(), _stamp(settings.checkpoint))


def _stamp(checkpoint: str) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of the checkpoint's file, or of the files in its folder."""
    if not checkpoint:
        return ()
    path = Path(checkpoint).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [(file.name, file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in facts)


@lru_cache(maxsize=2)
def _load(settings_json: str, _stamp: object) -> Backbone:
    return Backbone(BackboneSettings.model_validate_json(settings_json))
