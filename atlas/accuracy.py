"""Accuracy per task as it was measured on the audit set, with a Wilson interval. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import binomtest
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from atlas.store.tables import AccuracyRow
from atlas.types import utc_now

CONFIDENCE = 0.95


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
        return asdict(self)


def wilson(correct: int, n: int, *, min_labels: int) -> Accuracy:
    """Accuracy with the Wilson score interval (Wilson 1927); n = 0 is a state, not a zero."""
    if n == 0:
        return Accuracy("too_few_labels", None, None, None, 0)
    low, high = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    state = "ok" if n >= min_labels else "too_few_labels"
    return Accuracy(state, correct / n, float(low), float(high), n)


def save_counts(session: Session, model_id: str, counts: Mapping[str, tuple[int, int]]) -> None:
    """Replace the model's measured accuracy."""
    session.execute(delete(AccuracyRow).where(AccuracyRow.model_id == model_id))
    rows = [
        {"model_id": model_id, "level": task, "correct": c, "n": n, "measured_at": utc_now()}
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
