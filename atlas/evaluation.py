"""Accuracy per task on the audit set alone, with a Wilson interval.

The decision rule: at each level the answer is that level's own most likely class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session
import torch

from atlas.heads import Head
from atlas.losses import MISSING, encode
from atlas.store.tables import AccuracyRow
from atlas.types import utc_now

CONFIDENCE = 0.95
CHUNK = 8192


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


def predict(head: Head, rows: Any) -> dict[str, NDArray[np.float32]]:
    """Task → (N, K) probabilities for N bottlenecks, read and scored in chunks."""
    parts: dict[str, list[NDArray[np.float32]]] = {task: [] for task in head.taxonomy.tasks}
    with torch.inference_mode():
        for start in range(0, len(rows), CHUNK):
            x = torch.from_numpy(rows[start : start + CHUNK].astype(np.float32))
            for task, log_probs in head(x).items():
                parts[task].append(log_probs.exp().numpy())
    empty = {task: np.zeros((0, len(known))) for task, known in head.taxonomy.tasks.items()}
    return {
        task: np.concatenate(found) if found else empty[task].astype(np.float32)
        for task, found in parts.items()
    }


def count_correct(
    head: Head, rows: Any, labels: Sequence[Mapping[str, str]]
) -> dict[str, tuple[int, int]]:
    """Task → (correct, n) over labelled rows; a label that stops above a level is not counted."""
    targets = encode(labels, head.taxonomy).classes
    result = {}
    for task, probs in predict(head, rows).items():
        truth = targets[task].numpy()
        known = truth != MISSING
        right = probs[known].argmax(axis=1) == truth[known]
        result[task] = (int(right.sum()), int(known.sum()))
    return result


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
