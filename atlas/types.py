"""Small frozen records that cross borders. Ids travel, positions don't."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

ImageId = str  # "img_" and the first 16 hex digits of the content's SHA-256
NodePath = str  # "animal/pet/cat": a node of the taxonomy at any depth
FloatArray = NDArray[np.floating]

LABEL = "label"
"""The key, beside attribute names, under which an annotation holds its taxonomy node."""

UNKNOWN = -1
"""In an array of class indices: the label does not say."""

K = TypeVar("K")
V = TypeVar("V")

AnnotationEvent = Literal["submitted", "skipped", "deleted"]
Prefill = Literal["none", "accepted", "changed"]


def utc_now() -> datetime:
    """The present moment, with a time zone."""
    return datetime.now(UTC)


class Rows(Protocol):
    """Rows of bottlenecks, in memory or mapped from disk: len() is N, slices give (n, D)."""

    def __len__(self) -> int: ...  # noqa: D105

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> FloatArray: ...  # noqa: D105


@dataclass(frozen=True)
class Candidates:
    """What a sampler may look at: images that are neither labelled, queued nor in the audit set.

    Rows may be on the disk: read them in slices, never whole.

    Attributes:
        ids: N image ids.
        bottlenecks: (N, D) float rows, same order.
        labelled: (L, D) float rows of the images that have or wait for a label.
        probs: level → (N, K) rows in [0, 1] that sum to 1; empty before the first model.
        classes: level → K class paths, the columns of `probs`; levels from coarse to fine.
        labelled_classes: level → (L,) int64, each labelled image's class; `UNKNOWN` where it still
            waits for its label or the label stops above the level.
        labelled_probs: level → (L, K), as `probs`, by a head that never saw the row; NaN where
            there is none. Empty with too few labels for such heads.
        member_probs: level → the (N, K) rows of each of M heads trained on other parts of the
            labels, an ensemble; empty with too few labels.
    """

    ids: Sequence[ImageId]
    bottlenecks: Rows
    labelled: Rows
    probs: Mapping[str, Rows] = field(default_factory=dict)
    classes: Mapping[str, tuple[NodePath, ...]] = field(default_factory=dict)
    labelled_classes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    labelled_probs: Mapping[str, FloatArray] = field(default_factory=dict)
    member_probs: Mapping[str, Sequence[Rows]] = field(default_factory=dict)

    def positions(self, ids: Iterable[ImageId]) -> NDArray[np.intp]:
        """Where the images are, in the order of `ids`; no table of all candidates is made."""
        order = {image_id: place for place, image_id in enumerate(ids)}
        result = np.empty(len(order), dtype=np.intp)
        for position, image_id in enumerate(self.ids):
            if image_id in order:
                result[order[image_id]] = position
        return result

    def subset(self, positions: NDArray[np.intp]) -> "Candidates":
        """The candidates at `positions`, in that order; nothing is read until it is sliced."""

        def some(rows: Rows) -> Rows:
            return RowsAt(rows, positions)

        return replace(
            self,
            ids=[self.ids[int(i)] for i in positions],
            bottlenecks=some(self.bottlenecks),
            probs=LazyMapping(self.probs, lambda level: some(self.probs[level])),
            member_probs=LazyMapping(
                self.member_probs,
                lambda level: [some(rows) for rows in self.member_probs[level]],
            ),
        )


class LazyMapping(Mapping[K, V]):
    """Known keys whose values are worked out when one is first asked for.

    Args:
        keys: in order.
        compute: key → value.
    """

    def __init__(self, keys: Iterable[K], compute: Callable[[K], V]) -> None:
        self._keys = tuple(keys)
        self._compute = compute
        self._known: dict[K, V] = {}

    def __getitem__(self, key: K) -> V:
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._known:
            self._known[key] = self._compute(key)
        return self._known[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class RowsAt:
    """Rows at chosen positions of other rows, read where they are sliced."""

    def __init__(self, rows: Rows, positions: NDArray[np.intp]) -> None:
        self._rows = rows
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> FloatArray:
        return self._rows[self._positions[rows]]


@dataclass(frozen=True)
class Batch:
    """What a sampler chose, best first.

    Attributes:
        ids: n distinct image ids.
        scores: one finite acquisition score an image, higher = ask sooner.
        reasons: one sentence an image that a person understands.
        note: what the round should record, such as why another sampler stood in; else "".
    """

    ids: tuple[ImageId, ...]
    scores: tuple[float, ...]
    reasons: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Query:
    """An image sent to be labelled, and all that an annotator may know of it.

    Attributes:
        uid: unique for ever; the oracle finds a repeated push by it.
        image_id: which image.
        priority: 0 is asked first.
        guess: task → value the model believes, pre-filled for the annotator; empty of a blind one.
        confidence: task → probability in [0, 1] of the guess.
        reason: why this image was chosen, or the one sentence that all blind ones share.
        location: where its bytes are (see `atlas.images`).
        overlap: how many different people are asked.
    """

    uid: str
    image_id: ImageId
    priority: int
    location: str
    guess: Mapping[str, str] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    overlap: int = 1


@dataclass(frozen=True)
class Annotation:
    """One person's answer about one query, or its later edit or deletion.

    Attributes:
        external_id: the oracle's own id of the answer; edits carry the same one.
        query_uid: which query it answers.
        event: "submitted" (also an edit), "skipped" or "deleted".
        values: task → value; `LABEL` holds a taxonomy path, possibly of an inner node.
        annotator: who.
        updated_at: when, by the oracle's clock; orders the versions of one `external_id`.
        lead_time_s: seconds spent, where the oracle knows.
        prefill: what became of the model's pre-filled guess.
    """

    external_id: str
    query_uid: str
    event: AnnotationEvent
    updated_at: datetime
    values: Mapping[str, str] = field(default_factory=dict)
    annotator: str = ""
    lead_time_s: float | None = None
    prefill: Prefill = "none"
