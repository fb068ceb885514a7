"""Accuracy as a table for spreadsheets."""

from collections.abc import Mapping
import csv
from io import StringIO
from typing import Any

COLUMNS = ("measure", "value", "low", "high", "confidence", "n", "state", "model", "measured_at")


def wants_csv(accept: str) -> bool:
    """Whether an Accept header names CSV and does not name JSON."""
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "text/csv" in kinds and "application/json" not in kinds


def accuracy_csv(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a level. `measure` says what `value` is: an accuracy or a mean absolute error.

    Args:
        found: level → what `/api/v1/accuracy` says of it.
    """
    table = StringIO()
    writer = csv.writer(table)
    writer.writerow(("level", *COLUMNS))
    for level, one in found.items():
        measure = "accuracy" if "accuracy" in one else "mean_absolute_error"
        at = one["measured_at"]
        row = {**one, "measure": measure, "value": one[measure]}
        row["measured_at"] = at.isoformat() if at else None
        writer.writerow((level, *(row[column] for column in COLUMNS)))
    return table.getvalue()
