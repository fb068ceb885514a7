"""Fills the bottleneck cache; decoding and the network's forwards overlap."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
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
from sqlalchemy import delete, select
import torch

from atlas.backbone import Backbone
from atlas.bottleneck import BottleneckCache
from atlas.errors import ImageError
from atlas.images import decode, read_bytes
from atlas.pool import LOST, set_aside
from atlas.project import Project
from atlas.settings import BackboneSettings
from atlas.store.tables import Image, LeftOut, QueryRow

Progress = Callable[[int, int], None]


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
class _Work:
    image_id: str
    sha256: str
    location: str


@dataclass(frozen=True)
class _Part:
    hashes: list[str]
    vectors: NDArray[np.float16]  # (n, D), as the hashes
    left_out: dict[str, str]  # image id → reason


def open_cache(project: Project, backbone: Backbone) -> BottleneckCache:
    """The project's cache for that backbone."""
    return BottleneckCache(
        project.bottlenecks, fingerprint=backbone.fingerprint, features=backbone.features
    )


def embed_pool(
    project: Project, *, backbone: Backbone | None = None, progress: Progress | None = None
) -> EmbedReport:
    """Compute the bottlenecks that are missing; a second call computes nothing.

    What is finished is written at once and one batch at most is in work, so a kill loses no more.
    Images that have become unreadable since they were ingested are left out and listed.

    Args:
        project: whose images.
        backbone: the project's own where None.
        progress: called with (done, total), the cached ones counted as done.

    Raises:
        BackboneError: see `Backbone`.
        DiskFull: no room; finished batches are kept.
    """
    backbone = backbone or project_backbone(project)
    cache = open_cache(project, backbone)
    cache.verify()
    with project.database.reader() as session:
        rows = session.execute(select(Image.id, Image.sha256, Image.location)).all()
    missing = cache.missing([row.sha256 for row in rows])
    work = [_Work(rows[i].id, rows[i].sha256, project.absolute(rows[i].location)) for i in missing]
    started = time.perf_counter()
    done, left_out = len(rows) - len(work), {}
    for part in _embedded(work, backbone):
        if part.hashes:
            cache.put(part.hashes, part.vectors)
        left_out.update(part.left_out)
        done += len(part.hashes) + len(part.left_out)
        if progress is not None:
            progress(done, len(rows))
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


def _embedded(work: Sequence[_Work], backbone: Backbone) -> Iterator[_Part]:
    """Parts of the work as they are finished; together they hold one batch at any time.

    On a CPU every core takes parts of its own, decodes them and runs the network on one thread:
    cores never wait for each other at the barriers inside a layer, and decoding fills no gap that a
    forward needs. On an accelerator two parts take turns, and a pool of threads decodes for both.
    """
    cores = os.cpu_count() or 1
    on_cpu = backbone.device.type == "cpu"
    workers = cores if on_cpu else 2
    size = max(1, backbone.settings.batch_size // workers)
    parts = iter([work[start : start + size] for start in range(0, len(work), size)])
    threads = torch.get_num_threads()
    one_thread = partial(torch.set_num_threads, 1 if on_cpu else threads)
    with (
        ThreadPoolExecutor(cores) as decoders,
        ThreadPoolExecutor(workers, initializer=one_thread) as forwards,
    ):
        each = map if on_cpu else decoders.map
        running = {forwards.submit(_embed, part, backbone, each) for part in islice(parts, workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for part in islice(parts, len(finished)):
                running.add(forwards.submit(_embed, part, backbone, each))
            for future in finished:
                yield future.result()
    torch.set_num_threads(threads)


def _embed(work: Sequence[_Work], backbone: Backbone, each: Callable[..., Any]) -> _Part:
    pixels = list(each(partial(_pixels, backbone), work))
    good = [i for i, one in enumerate(pixels) if not isinstance(one, ImageError)]
    vectors: NDArray[np.float16] = np.zeros((0, backbone.features), dtype=np.float16)
    if good:
        vectors = backbone.embed(np.stack([pixels[i] for i in good]))
    failed = {work[i].image_id: str(one) for i, one in enumerate(pixels) if i not in set(good)}
    return _Part([work[i].sha256 for i in good], vectors, failed)


def _pixels(backbone: Backbone, item: _Work) -> NDArray[np.uint8] | ImageError:
    try:
        content = read_bytes(item.location)
        if hashlib.sha256(content).hexdigest() != item.sha256:
            return ImageError(f"{item.location} has changed since it was ingested")
        return backbone.prepare(decode(content, item.location))
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
    """The project's backbone, loaded once a process and again when its checkpoint changes."""
    settings = project.settings.backbone
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
