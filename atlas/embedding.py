"""Fills the bottleneck cache: threads decode while the backbone works on the batch before."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
import hashlib
import os
from pathlib import Path
import time

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select

from atlas.backbone import Backbone
from atlas.bottleneck import BottleneckCache
from atlas.errors import ImageError
from atlas.images import decode, read_bytes
from atlas.pool import LOST, set_aside
from atlas.project import Project
from atlas.settings import BackboneSettings
from atlas.store.tables import Image, LeftOut, QueryRow

BATCHES_AHEAD = 3
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


def open_cache(project: Project, backbone: Backbone) -> BottleneckCache:
    """The project's cache for that backbone."""
    return BottleneckCache(
        project.bottlenecks, fingerprint=backbone.fingerprint, features=backbone.features
    )


def embed_pool(
    project: Project, *, backbone: Backbone | None = None, progress: Progress | None = None
) -> EmbedReport:
    """Compute the bottlenecks that are missing; a second call computes nothing.

    Each batch is on the disk before the next is begun, so a kill loses at most one. Images that
    have become unreadable since they were ingested are left out and listed.

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
    for hashes, pixels, failed in _decoded(work, backbone):
        if hashes:
            cache.put(hashes, backbone.embed(pixels))
        left_out.update(failed)
        done += len(hashes) + len(failed)
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


def _decoded(
    work: Sequence[_Work], backbone: Backbone
) -> Iterator[tuple[list[str], NDArray[np.uint8], dict[str, str]]]:
    """Batches in order: hashes and pixels of the readable images, reasons of the others."""
    size = backbone.settings.batch_size
    batches = [work[start : start + size] for start in range(0, len(work), size)]

    def one(item: _Work) -> NDArray[np.uint8] | ImageError:
        try:
            content = read_bytes(item.location)
            if hashlib.sha256(content).hexdigest() != item.sha256:
                return ImageError(f"{item.location} has changed since it was ingested")
            return backbone.prepare(decode(content, item.location))
        except ImageError as error:
            return error

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        ahead: deque[list[Future[NDArray[np.uint8] | ImageError]]] = deque()
        for number, batch in enumerate(batches):
            while len(ahead) < BATCHES_AHEAD and number + len(ahead) < len(batches):
                ahead.append([threads.submit(one, item) for item in batches[number + len(ahead)]])
            results = [future.result() for future in ahead.popleft()]
            good = [i for i, result in enumerate(results) if not isinstance(result, ImageError)]
            failed = {
                batch[i].image_id: str(result)
                for i, result in enumerate(results)
                if isinstance(result, ImageError)
            }
            pixels = (
                np.stack([np.asarray(results[i]) for i in good]) if good else np.zeros(0, np.uint8)
            )
            yield [batch[i].sha256 for i in good], pixels, failed


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
