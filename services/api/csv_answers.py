"""Answers as tables for spreadsheets."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
import csv
from datetime import datetime
from io import StringIO
from typing import Any

from fastapi import Request, Response

VARY = {"Vary": "Accept"}
MEASURED = ("measure", "value", "low", "high", "confidence", "n", "state")


def wants_csv(accept: str) -> bool:
    """Whether an Accept header likes CSV better than JSON; of two alike, the one it names."""
    liked = _liked(accept)
    csv, json = (_likes(liked, kind) for kind in ("text/csv", "application/json"))
    return csv[0] > 0 and csv > json


def _liked(accept: str) -> dict[str, float]:
    """Kind → how much it is liked, from 0 (not at all) to 1."""
    liked = {}
    for part in accept.lower().split(","):
        kind, *parameters = (one.strip() for one in part.split(";"))
        found = [one.removeprefix("q=") for one in parameters if one.startswith("q=")]
        with suppress(ValueError):  # what is no number says nothing
            liked[kind] = min(max(float(found[0]), 0.0), 1.0) if found else 1.0
    return liked


def _likes(liked: Mapping[str, float], kind: str) -> tuple[float, int]:
    """How much, by the closest name that is there (RFC 9110, 12.5.1), and how close that is."""
    for closeness, name in ((2, kind), (1, f"{kind.partition('/')[0]}/*"), (0, "*/*")):
        if name in liked:
            return liked[name], closeness
    return 0.0, 0


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
