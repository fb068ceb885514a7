"""Rounds in memory with an oracle that knows the truth: the live loop's own choosing and training.

`tests/integration/test_replay.py` holds that a replay chooses the same images and gives the same
accuracies as the rounds of a project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from atlas.batches import Ask, choose_batch
from atlas.candidates import Learned, Taken, look
from atlas.embedding import open_cache, project_backbone
from atlas.errors import OracleRefused, PoolExhausted
from atlas.evaluation import count_right
from atlas.losses import encode
from atlas.project import Project
from atlas.registry import FoldHeads
from atlas.settings import Settings
from atlas.store.tables import Image
from atlas.taxonomy import Taxonomy
from atlas.train import TrainingData, learn
from atlas.types import ImageId, Rows, RowsAt

IN_MEMORY_BYTES = 2**30
Point = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    """Images whose labels are known, in order of their id.

    Attributes:
        ids: N image ids.
        rows: (N, D) bottlenecks.
        labels: N labels, task → value.
    """

    ids: list[ImageId]
    rows: Rows
    labels: list[Mapping[str, str]]

    @cached_property
    def position(self) -> dict[ImageId, int]:
        """Image id → its place in `ids`."""
        return {image_id: i for i, image_id in enumerate(self.ids)}


@dataclass(frozen=True)
class Replay:
    """What every run shares: the pool, the held-out images and what is predicted."""

    pool: Truth
    test: Truth
    taxonomy: Taxonomy

    @cached_property
    def answers(self) -> dict[str, NDArray[np.int64]]:
        """Task → (N,) class indices of the held-out images, looked up once for all rounds."""
        classes = encode(self.test.labels, self.taxonomy).classes
        return {task: column.numpy() for task, column in classes.items()}


def load_replay(project: Project) -> Replay:
    """The images of an embedded project that came with truth.

    Raises:
        OracleRefused: no image of the pool, or none of the audit set, came with truth.
        CacheError: an image has no bottleneck yet.
    """
    pool, test = (_truth(project, split) for split in ("pool", "audit"))
    if not pool.ids or not test.ids:
        raise OracleRefused("a simulation needs the truth; give images with --truth folders")
    return Replay(pool, test, project.taxonomy)


def _truth(project: Project, split: str) -> Truth:
    cache = open_cache(project, project_backbone(project))
    with project.database.reader() as session:
        found = session.execute(
            select(Image.id, Image.sha256, Image.truth)
            .where(Image.split == split)
            .order_by(Image.id)
        )
        known = [row for row in found if row.truth]
    rows: Rows = cache.rows([row.sha256 for row in known])
    if len(known) * cache.features * 4 <= IN_MEMORY_BYTES:
        rows = rows[:].astype(np.float32)  # every run of every sampler reads them again
    return Truth([row.id for row in known], rows, [row.truth for row in known])


def replay(
    data: Replay, settings: Settings, schedule: Sequence[int], *, start: int = 0
) -> list[Point]:
    """One run: rounds until the schedule or the pool is at its end.

    Args:
        data: see `load_replay`.
        settings: the seed, the round's sampler and the head.
        schedule: how many labels there are after each round, rising.
        start: labels of the first round that are drawn at random; 0 leaves it to the cold start.

    Returns:
        A point a round: {"labels", "accuracy": {task: [0, 1]}, "sampler", "asked": image ids}.
    """
    labelled = np.zeros(0, dtype=np.intp)
    learned: Learned | None = None
    points: list[Point] = []
    steps = [start, *(one for one in schedule if one > start)] if start else list(schedule)
    for number, target in enumerate(steps, start=1):
        first = bool(start) and number == 1
        ask = Ask(target - len(labelled), "random" if first else "")
        rng = np.random.default_rng([settings.seed, number])
        try:
            chosen, sampler = _choose(data, labelled, learned, (settings, ask), rng)
        except PoolExhausted:
            break
        labelled = np.sort(np.concatenate([labelled, chosen]))
        learned = _learn(data, labelled, settings)
        points.append(
            {
                "labels": len(labelled),
                "accuracy": _measure(data, learned),
                "sampler": sampler,
                "asked": [data.pool.ids[i] for i in chosen],
            }
        )
    return points


def _choose(
    data: Replay,
    labelled: NDArray[np.intp],
    learned: Learned | None,
    asked: tuple[Settings, Ask],
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], str]:
    """Positions of the next batch in the pool, and the name of the sampler that chose it."""
    settings, ask = asked
    pool = data.pool
    free = np.setdiff1d(np.arange(len(pool.ids)), labelled, assume_unique=True)
    taken = Taken(
        [pool.ids[i] for i in labelled],
        pool.rows[labelled],
        [pool.labels[i] for i in labelled],
    )
    rows = RowsAt(pool.rows, free)  # a pool too large for memory stays on the disk
    candidates = look([pool.ids[i] for i in free], rows, taken, learned)
    avoid = (taken.rows, data.test.rows)
    choice = choose_batch(candidates, avoid, settings.round, ask, rng=rng)
    chosen = np.array([pool.position[one] for one in choice.batch.ids], dtype=np.intp)
    return chosen, choice.sampler


def _learn(data: Replay, labelled: NDArray[np.intp], settings: Settings) -> Learned:
    pool = data.pool
    labels = [pool.labels[i] for i in labelled]
    training = TrainingData(pool.rows[labelled], labels, pool.rows)
    fit = learn(training, data.taxonomy, settings.head, seed=settings.seed)
    of_row = fit.folds.of_row.tolist()
    of_image = dict(zip((pool.ids[i] for i in labelled), of_row, strict=False))
    return Learned(fit.head, FoldHeads(fit.folds.heads, of_image))


def _measure(data: Replay, learned: Learned) -> dict[str, float]:
    counts = count_right(learned.head, data.test.rows, data.answers)
    return {task: correct / n for task, (correct, n) in counts.items() if n}
