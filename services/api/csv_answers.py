"""Answers as tables for spreadsheets."""

from collections.abc import Iterable, Mapping, Sequence
import csv
from datetime import datetime
from io import StringIO
from typing import Any

from fastapi import Request, Response

VARY = {"Vary": "Accept"}
MEASURED = ("measure", "value", "low", "high", "confidence", "n", "state")


def wants_csv(accept: str) -> bool:
    """Whether an Accept header names CSV and does not name JSON."""
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "text/csv" in kinds and "application/json" not in kinds


def varies(response: Response) -> None:
    """A dependency of routes with `table_or`: whoever stores its JSON must keep the CSV apart."""
    response.headers.update(VARY)


def table_or(
    request: Request, found: Any, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> Any:
    """`found`, or `rows` as CSV where that is asked for."""
    if not wants_csv(request.headers.get("accept", "")):
        return found
    return Response(as_csv(columns, rows), media_type="text/csv", headers=VARY)


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, head: bool = True) -> str:
    """A line a row. What is None stays empty, times are ISO 8601."""
    table = StringIO()
    writer = csv.writer(table)
    if head:
        writer.writerow(columns)
    for row in rows:
        values = (row[column] for column in columns)
        writer.writerow(one.isoformat() if isinstance(one, datetime) else one for one in values)
    return table.getvalue()


def measured_row(one: Mapping[str, Any]) -> dict[str, Any]:
    """An accuracy or a mean absolute error under the same columns; `measure` says which."""
    measure = "accuracy" if "accuracy" in one else "mean_absolute_error"
    row = {**one, "measure": measure, "value": one[measure]}
    return {column: row[column] for column in MEASURED}
