"""What a sampler may look at, from images, their labels and what the last round learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.evaluation import predict
from atlas.heads import Head
from atlas.losses import encode
from atlas.registry import FoldHeads
from atlas.types import Candidates, FloatArray, ImageId, LazyMapping, Rows


@dataclass(frozen=True)
class Taken:
    """The images that have a label or wait for one.

    Attributes:
        ids: L image ids.
        rows: (L, D) bottlenecks.
        labels: L labels, task → value; empty where one is still waited for.
    """

    ids: Sequence[ImageId]
    rows: Rows
    labels: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Learned:
    """The head of the last round, and the heads of its folds.

    Attributes:
        head: what guesses.
        folds: what tells how sure to be.
        by: whose guesses they are, where they are shown to somebody: a model's id, or `fit_on`.
    """

    head: Head
    folds: FoldHeads
    by: str = ""


def fit_on(labels: int) -> str:
    """The name of heads that are no registered model: those fitted on so many labels."""
    return f"heads on {labels} labels"


def look(ids: Sequence[ImageId], rows: Rows, taken: Taken, learned: Learned | None) -> Candidates:
    """The candidates as samplers see them; nothing is predicted before a sampler asks for it.

    Args:
        ids: N image ids.
        rows: (N, D) their bottlenecks.
        taken: the images that are no candidates any more.
        learned: None before the first model.
    """
    if learned is None:
        return Candidates(ids, rows, taken.rows)
    head, folds = learned.head, learned.folds
    levels = head.taxonomy.classes
    targets = encode(taken.labels, head.taxonomy).classes
    return Candidates(
        ids=ids,
        bottlenecks=rows,
        labelled=taken.rows,
        probs=_at_levels(head, rows),
        classes=levels,
        labelled_classes={level: targets[level].numpy() for level in levels},
        labelled_probs=_out_of_fold(taken, folds) if folds.heads else {},
        member_probs=_members(folds, rows) if folds.heads else {},
    )


def _at_levels(head: Head, rows: Rows) -> Mapping[str, Rows]:
    """Level → (N, K); one pass over the rows for all levels, at the first question."""
    everything = LazyMapping(("all",), lambda _: predict(head, rows))
    return LazyMapping(head.taxonomy.levels, lambda level: everything["all"][level])


def _members(folds: FoldHeads, rows: Rows) -> Mapping[str, Sequence[Rows]]:
    """Level → each fold head's (N, K), predicted where they are sliced: M of them take room."""
    levels = folds.heads[0].taxonomy.levels
    return LazyMapping(
        levels, lambda level: [_Predicted(head, rows, level) for head in folds.heads]
    )


class _Predicted:
    """The (N, K) probabilities of one head at one level, worked out where they are read."""

    def __init__(self, head: Head, rows: Rows, level: str) -> None:
        self._head = head
        self._rows = rows
        self._level = level

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> FloatArray:
        return predict(self._head, self._rows[rows])[self._level]


def _out_of_fold(taken: Taken, folds: FoldHeads) -> Mapping[str, FloatArray]:
    """Level → (L, K), each row by the head that never saw it; NaN for images it was not given."""
    fold = np.array([folds.of_image.get(image_id, -1) for image_id in taken.ids], dtype=np.int64)
    taxonomy = folds.heads[0].taxonomy

    def compute(level: str) -> NDArray[np.float32]:
        result = np.full((len(fold), len(taxonomy.classes[level])), np.nan, dtype=np.float32)
        for number, head in enumerate(folds.heads):
            mine = np.flatnonzero(fold == number)
            result[mine] = predict(head, taken.rows[mine])[level]
        return result

    return LazyMapping(taxonomy.levels, compute)
