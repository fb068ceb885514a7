"""What was measured on the audit set: accuracy with a Wilson interval, or how far off numbers are.

No torch here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from atlas.store.tables import AccuracyRow, AnnotationRow, Image, ModelRow
from atlas.types import utc_now

CONFIDENCE = 0.95
ERRORS = "errors"  # key in a model's metrics


@dataclass(frozen=True)
class Accuracy:
    """What a stakeholder may quote.

    Attributes:
        state: "ok", or "too_few_labels" where n is below what settings ask for.
        accuracy: [0, 1], None with n = 0.
        low: lower end of the interval, None with n = 0.
        high: upper end.
        n: audit labels that reach this level.
        confidence: of the interval.
    """

    state: str
    accuracy: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float = CONFIDENCE

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class MeanError:
    """How far off a quantity is on average, in its own unit.

    Attributes:
        state: as in `Accuracy`.
        mean_absolute_error: 0 or more; None with n = 0.
        low: lower end of the interval, 0 or more; None with n below 2.
        high: upper end.
        n: audit labels that say the quantity.
        confidence: of the interval.
    """

    state: str
    mean_absolute_error: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float = CONFIDENCE

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@lru_cache(maxsize=4096)
def wilson(correct: int, n: int, *, min_labels: int) -> Accuracy:
    """Accuracy with the Wilson score interval (Wilson 1927); n = 0 is a state, not a zero."""
    if n == 0:
        return Accuracy("too_few_labels", None, None, None, 0)
    low, high = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    state = "ok" if n >= min_labels else "too_few_labels"
    return Accuracy(state, correct / n, float(low), float(high), n)


def save_counts(
    session: Session,
    model_id: str,
    counts: Mapping[str, tuple[int, int]],
    *,
    at: datetime | None = None,
) -> None:
    """Replace the model's measured accuracy.

    Args:
        session: an open transaction.
        model_id: of a model whose row is there.
        counts: task → (correct, n).
        at: a moment at which the labels were these, not later than they were read; now where None.
    """
    at = at or utc_now()
    session.execute(delete(AccuracyRow).where(AccuracyRow.model_id == model_id))
    rows = [
        {"model_id": model_id, "level": task, "correct": c, "n": n, "measured_at": at}
        for task, (c, n) in counts.items()
    ]
    session.execute(insert(AccuracyRow), rows)


def accuracy_of(
    session: Session, model_id: str | None, *, min_labels: int, tasks: Sequence[str]
) -> dict[str, Accuracy]:
    """Task → accuracy as last measured; without a model every task is "too_few_labels"."""
    found = session.scalars(select(AccuracyRow).where(AccuracyRow.model_id == model_id))
    counts = {row.level: (row.correct, row.n) for row in found}
    return {task: wilson(*counts.get(task, (0, 0)), min_labels=min_labels) for task in tasks}


def measured_at(session: Session, model_id: str) -> datetime | None:
    """When the model was measured last; None where it never was."""
    return session.scalar(
        select(func.max(AccuracyRow.measured_at)).where(AccuracyRow.model_id == model_id)
    )


def has_audit_news(session: Session, since: datetime) -> bool:
    """Whether an audit image was answered, or an answer to one edited or deleted, after `since`."""
    came = select(AnnotationRow.id).join(Image, Image.id == AnnotationRow.image_id)
    came = came.where(Image.split == "audit", AnnotationRow.received_at > since)
    return session.scalar(came.limit(1)) is not None


def every_accuracy(
    session: Session, *, min_labels: int, tasks: Sequence[str]
) -> dict[str, dict[str, Accuracy]]:
    """Model → task → accuracy as last measured, of every model that was: one query for all."""
    counts: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for row in session.execute(
        select(AccuracyRow.model_id, AccuracyRow.level, AccuracyRow.correct, AccuracyRow.n)
    ):
        counts[row.model_id][row.level] = (row.correct, row.n)
    return {
        model_id: {task: wilson(*found.get(task, (0, 0)), min_labels=min_labels) for task in tasks}
        for model_id, found in counts.items()
    }


def save_errors(session: Session, model_id: str, errors: Mapping[str, NDArray[np.float64]]) -> None:
    """Replace the model's measured mean errors.

    Args:
        session: an open transaction.
        model_id: of a model whose row is there.
        errors: quantity → (n,) absolute errors on the audit set.
    """
    if not errors:
        return
    row = session.get_one(ModelRow, model_id)
    row.metrics = {**row.metrics, ERRORS: {name: _mean(found) for name, found in errors.items()}}


def errors_of(
    session: Session, model_id: str | None, *, min_labels: int, quantities: Sequence[str]
) -> dict[str, MeanError]:
    """Quantity → mean error as last measured; without a model every one is "too_few_labels"."""
    row = session.get(ModelRow, model_id) if model_id is not None else None
    return errors_in(
        row.metrics if row is not None else {}, min_labels=min_labels, quantities=quantities
    )


def errors_in(
    metrics: Mapping[str, Any], *, min_labels: int, quantities: Sequence[str]
) -> dict[str, MeanError]:
    """What `errors_of` says, from a model's metrics that are here already."""
    measured = metrics.get(ERRORS, {})
    result = {}
    for name in quantities:
        found = measured.get(name, _mean(np.zeros(0)))
        state = "ok" if found["n"] >= min_labels else "too_few_labels"
        result[name] = MeanError(state, **found)
    return result


def _mean(errors: NDArray[np.float64]) -> dict[str, Any]:
    """Mean, Student's t interval and n of (n,) absolute errors."""
    n = len(errors)
    mean = float(errors.mean()) if n else None
    low = high = None
    if mean is not None and n > 1:
        factor = float(student.ppf((1 + CONFIDENCE) / 2, n - 1))
        half = factor * float(errors.std(ddof=1)) / n**0.5
        low, high = max(mean - half, 0.0), mean + half
    return {"mean_absolute_error": mean, "low": low, "high": high, "n": n}
