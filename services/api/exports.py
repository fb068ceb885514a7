"""The labels, each with where it came from, as files that are made while they are sent."""

from collections.abc import Iterable, Iterator
from itertools import chain
import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from atlas.export import label_records
from services.api import answers
from services.api.common import project_of
from services.api.csv_answers import as_csv

reading = APIRouter(prefix="/api/v1", responses=answers.WRONG)

COLUMNS = (
    "image",
    "location",
    "split",
    "task",
    "value",
    "agreement",
    "annotations",
    "annotators",
    "names",
    "annotated_at",
    "rounds",
)


def _file(kind: str) -> answers.Responses:
    return {200: {"content": {kind: {"schema": {"type": "string"}}}}}


@reading.get(
    "/labels.jsonl",
    response_class=StreamingResponse,
    responses=_file("application/x-ndjson"),
)
def get_labels_jsonl(request: Request) -> StreamingResponse:
    """An object a line and image: its labels, their agreement, and every annotation behind them."""
    records = label_records(project_of(request))
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in records)
    return _download(lines, "application/x-ndjson", "labels.jsonl")


@reading.get(
    "/labels.csv", response_class=StreamingResponse, responses=_file("text/csv; charset=utf-8")
)
def get_labels_csv(request: Request) -> StreamingResponse:
    """A line an image and task: the label, how far its annotations agree, who gave them, when."""
    records = label_records(project_of(request))
    lines = (as_csv(COLUMNS, _rows(one), head=False) for one in records)
    return _download(chain([as_csv(COLUMNS, ())], lines), "text/csv", "labels.csv")


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    image = {key: record[key] for key in ("image", "location", "split")}
    for task, value in record["labels"].items():
        found = [one for one in record["annotations"] if task in one["values"]]
        yield {
            **image,
            "task": task,
            "value": value,
            "agreement": record["agreement"][task],
            "annotations": len(found),
            "annotators": _listed(one["annotator"] for one in found),
            "names": _listed(one["name"] or one["annotator"] for one in found),
            "annotated_at": max((one["updated_at"] for one in found), default=None),
            "rounds": _listed(str(one["round"]) for one in found),
        }


def _listed(values: Iterable[str]) -> str:
    return ";".join(sorted(set(values)))


def _download(lines: Iterator[str], kind: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type=kind, headers=headers)
