"""Small frozen records that cross borders. Ids travel, positions don't."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

ImageId = str  # "img_" and the first 16 hex digits of the content's SHA-256
NodePath = str  # "animal/pet/cat": a node of the taxonomy at any depth
FloatArray = NDArray[np.floating]

LABEL = "label"
"""The key, beside attribute names, under which an annotation holds its taxonomy node."""

QueryKind = Literal["query", "audit"]
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

    Attributes:
        ids: N image ids.
        bottlenecks: (N, D) float rows, same order.
        probs: level → (N, K) float32 in [0, 1], rows sum to 1; empty before the first model.
        classes: level → K class paths, the columns of `probs`.
        labelled: (L, D) float rows of the images that have or wait for a label.
    """

    ids: Sequence[ImageId]
    bottlenecks: Rows
    labelled: Rows
    probs: Mapping[str, FloatArray] = field(default_factory=dict)
    classes: Mapping[str, tuple[NodePath, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """What a sampler chose, best first.

    Attributes:
        ids: n distinct image ids.
        scores: one finite acquisition score an image, higher = ask sooner.
        reasons: one sentence an image that a person understands.
    """

    ids: tuple[ImageId, ...]
    scores: tuple[float, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Query:
    """An image sent to be labelled.

    Attributes:
        uid: unique for ever; the oracle finds a repeated push by it.
        image_id: which image.
        kind: "query" (chosen by a sampler) or "audit" (uniform random).
        priority: 0 is asked first.
        guess: task → value the model believes, pre-filled for the annotator; may be empty.
        confidence: task → probability in [0, 1] of the guess.
        reason: why this image was chosen.
        location: where its bytes are (see `atlas.images`).
    """

    uid: str
    image_id: ImageId
    kind: QueryKind
    priority: int
    location: str
    guess: Mapping[str, str] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


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
