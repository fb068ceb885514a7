"""Predictions, how many of them are right, and how far off the numbers are.

The decision rule: at each level the answer is that level's own most likely class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from atlas.heads import Head
from atlas.losses import MISSING, encode

CHUNK = 8192


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


def fold_probs(
    heads: Sequence[Head], of_row: NDArray[np.int64], rows: Any
) -> dict[str, NDArray[np.float32]]:
    """Task → (n, K) probabilities of n labelled rows, each by the head that never saw it.

    Args:
        heads: of the folds, one or more.
        of_row: (n,) which of them never saw the row.
        rows: n bottlenecks.
    """
    tasks = heads[0].taxonomy.tasks
    result: dict[str, NDArray[np.float32]] = {
        task: np.zeros((len(rows), len(known)), dtype=np.float32) for task, known in tasks.items()
    }
    for number, head in enumerate(heads):
        mine = np.flatnonzero(of_row == number)
        for task, probs in predict(head, rows[mine]).items():
            result[task][mine] = probs
    return result


def predict_numbers(head: Head, rows: Any) -> dict[str, NDArray[np.float32]]:
    """Quantity → (N,) in its own unit for N bottlenecks, read and predicted in chunks."""
    quantities = head.taxonomy.quantities
    if not quantities:
        return {}
    result: dict[str, NDArray[np.float32]] = {
        name: np.empty(len(rows), dtype=np.float32) for name in quantities
    }
    with torch.inference_mode():
        for start in range(0, len(rows), CHUNK):
            x = torch.from_numpy(rows[start : start + CHUNK].astype(np.float32))
            for name, values in head.numbers(x).items():
                result[name][start : start + CHUNK] = values.numpy()
    return result


def absolute_errors(
    head: Head, rows: Any, labels: Sequence[Mapping[str, str]]
) -> dict[str, NDArray[np.float64]]:
    """Quantity → (n,) |predicted − labelled|, in its unit, over the n rows whose label says it."""
    truth = encode(labels, head.taxonomy).numbers
    result = {}
    for name, predicted in predict_numbers(head, rows).items():
        wanted = truth[name].numpy()
        known = ~np.isnan(wanted)
        result[name] = np.abs(predicted[known] - wanted[known]).astype(np.float64)
    return result


def count_correct(
    head: Head, rows: Any, labels: Sequence[Mapping[str, str]]
) -> dict[str, tuple[int, int]]:
    """Task → (correct, n) over labelled rows; a label that stops above a level is not counted."""
    classes = encode(labels, head.taxonomy).classes
    return count_right(head, rows, {task: column.numpy() for task, column in classes.items()})


def right_answers(
    head: Head, rows: Any, labels: Sequence[Mapping[str, str]]
) -> dict[str, NDArray[np.bool_]]:
    """Task → (n,) whether each of the rows that have a label for it is predicted right."""
    probs = predict(head, rows)
    classes = encode(labels, head.taxonomy).classes
    return {
        task: (probs[task].argmax(axis=1) == column.numpy())[column.numpy() != MISSING]
        for task, column in classes.items()
    }


def count_right(
    head: Head, rows: Any, classes: Mapping[str, NDArray[np.int64]]
) -> dict[str, tuple[int, int]]:
    """The same from class indices, (N,) a task, `MISSING` where the label does not say."""
    result = {}
    for task, probs in predict(head, rows).items():
        truth = classes[task]
        known = truth != MISSING
        right = probs[known].argmax(axis=1) == truth[known]
        result[task] = (int(right.sum()), int(known.sum()))
    return result
