"""What a fine-tune began with: images and labels that come or go meanwhile change nothing of it."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
import json
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import select

from atlas.bottleneck import BottleneckCache
from atlas.errors import TrainingError
from atlas.images import is_absent
from atlas.labels import LabelsByImage, training_labels
from atlas.project import Project
from atlas.store.tables import Image
from atlas.training.finetune.checkpoint import write_whole
from atlas.training.finetune.judges import how_to_have_more_judges, is_held_out, untaught_share

BEGAN = "began-with.json"
MIN_HELD_OUT = 10


class File(NamedTuple):
    """An image's bytes: their SHA-256, and where they are as the database says it."""

    sha256: str
    location: str


@dataclass(frozen=True)
class Began:
    """The pool of a moment. Kept, for its rows may be deleted while the fine-tune runs.

    Attributes:
        run: the name of the fine-tune.
        labels: of the labelled images.
        files: image id → its bytes, in order of id.
        share: of the labelled images that judge the fine-tune.
        absent: images that were left out from the first, as there was no file.
    """

    run: str
    labels: LabelsByImage
    files: Mapping[str, File]
    share: float
    absent: int = 0

    @cached_property
    def held_out(self) -> list[str]:
        """Labelled image ids that judge the fine-tune."""
        return [image_id for image_id in self.labels if is_held_out(image_id, self.share)]

    @property
    def learned(self) -> list[str]:
        """Labelled image ids that it learns from."""
        judges = set(self.held_out)
        return [image_id for image_id in self.labels if image_id not in judges]

    def hashes(self, image_ids: Collection[str]) -> list[str]:
        """SHA-256 of each."""
        return [self.files[image_id].sha256 for image_id in image_ids]

    def lacking(self, cache: BottleneckCache) -> set[str]:
        """Ids of the images that a cache does not hold."""
        ids = list(self.files)
        return {ids[place] for place in cache.missing(self.hashes(ids))}

    def without(self, gone: Collection[str]) -> "Began":
        """All but these images."""
        return replace(
            self,
            labels={one: given for one, given in self.labels.items() if one not in gone},
            files={one: file for one, file in self.files.items() if one not in gone},
        )


def folder_of(project: Project) -> Path:
    """Where an unfinished fine-tune lies."""
    return project.directory / "finetune"


def run_of(project: Project) -> str | None:
    """The name of the unfinished fine-tune; None: there is none.

    Raises:
        TrainingError: what was kept of it is damaged.
    """
    content = _kept(project)
    return None if content is None else content.get("run")


def look(project: Project) -> Began:
    """What the unfinished fine-tune began with; where there is none, what there is now.

    Raises:
        TrainingError: what was kept of it is damaged.
    """
    content = _kept(project)
    if content is not None:
        with _explain_damage(project):
            files = {image_id: File(*file) for image_id, file in content.pop("files").items()}
            return Began(files=files, **content)
    share = min(project.settings.finetune.held_out, untaught_share(project))
    with project.database.reader() as session:
        rows = session.execute(
            select(Image.id, Image.sha256, Image.location)
            .where(Image.split == "pool")
            .order_by(Image.id)
        )
        files = {row.id: File(row.sha256, row.location) for row in rows}
        return Began(uuid4().hex, training_labels(session), files, share)


def _kept(project: Project) -> dict[str, Any] | None:
    path = folder_of(project) / BEGAN
    if not path.exists():
        return None
    with _explain_damage(project):
        return dict(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def _explain_damage(project: Project) -> Iterator[None]:
    """Whatever may be wrong with the file, say what to do; also where an older Atlas wrote it."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TrainingError(
            f"{folder_of(project) / BEGAN} is damaged ({type(error).__name__}); begin again with "
            "`atlas finetune --anew`"
        ) from error


def begun(project: Project) -> Began:
    """What an unfinished fine-tune began with, else what there is now.

    Raises:
        TrainingError: too few labels to learn from or to judge by.
    """
    images = look(project)
    if not enough(images):
        raise TrainingError(
            f"{len(images.labels)} labelled images, of which {len(images.held_out)} would judge "
            f"the fine-tune: at least {MIN_HELD_OUT} must. {how_to_have_more_judges(project)}"
        )
    return images


def enough(images: Began) -> bool:
    """Whether there are labels to learn from, and to judge by."""
    return len(images.held_out) >= MIN_HELD_OUT and bool(images.learned)


def without_absent(project: Project, images: Began) -> Began:
    """Those whose file is there; whether it can be read is not looked at."""
    where = {one: project.absolute(file.location) for one, file in images.files.items()}
    absent = {image_id for image_id, location in where.items() if is_absent(location)}
    return replace(images.without(absent), absent=len(absent))


def remember(project: Project, images: Began) -> None:
    """From now on, until it is forgotten, it is what `look` gives.

    Raises:
        DiskFull: no room.
    """
    path = folder_of(project) / BEGAN
    if path.exists():
        return
    kept = ("run", "labels", "files", "share", "absent")
    text = json.dumps({name: getattr(images, name) for name in kept}).encode()
    write_whole(path, lambda file: file.write(text))


def left_the_pool(project: Project, images: Began) -> set[str]:
    """Ids of the images that the pool has lost since, as they could not be read any more."""
    with project.database.reader() as session:
        there = session.scalars(select(Image.id).where(Image.split == "pool"))
        return set(images.files).difference(there)


def left_in(images: Began, cache: BottleneckCache) -> Began:
    """What it began with, less the images that are not in the tuned backbone's cache.

    Raises:
        TrainingError: too few labelled ones to judge by.
    """
    gone = images.lacking(cache)
    if not gone:
        return images
    left = images.without(gone)
    if not enough(left):
        lost = len(images.labels) - len(left.labels)
        raise TrainingError(
            f"{lost} of {len(images.labels)} labelled images cannot be read any more, and the "
            f"{len(left.held_out)} that are left to judge the fine-tune are too few (at least "
            f"{MIN_HELD_OUT} must); put them back and start again to go on"
        )
    return left


def what_lacked(images: Began, left: Began) -> list[str]:
    """Sentences for the user: what it began without, and what of the rest is not left."""
    notes = []
    if images.absent:
        notes.append(f"{_images(images.absent)} left out from the first: there was no file")
    lost = len(images.files) - len(left.files)
    if lost:
        notes.append(f"{_images(lost)} lost meanwhile: left out of the end, no file can be read")
    return notes


def _images(count: int) -> str:
    return "1 image was" if count == 1 else f"{count} images were"
