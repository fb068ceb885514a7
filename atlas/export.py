"""Labels out, one JSON object an image, each with where it came from."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
import json
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atlas.errors import explain_full_disk
from atlas.labels import present
from atlas.project import Project
from atlas.store.tables import AnnotationRow, Image, LabelRow, PersonRow, QueryRow

CHUNK = 500  # images read at a time, however many there are


def export_labels(project: Project, path: Path) -> int:
    """Write what `label_records` gives, a line each; returns how many images."""
    count = 0
    temporary = path.with_name(f".{path.name}.tmp")
    with explain_full_disk(path), temporary.open("w", encoding="utf-8") as file:
        for record in label_records(project):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    temporary.replace(path)
    return count


def label_records(project: Project) -> Iterator[dict[str, Any]]:
    """Every labelled image with its provenance, by image id; only a chunk of them in memory.

    {"image", "location", "split", "labels": {task: value}, "agreement": {task: share},
    "annotations": [...]}; an annotation says who ("annotator", and "name" where the oracle tells
    it), what ("event", "values"), when ("updated_at", "lead_time_s" seconds), how it came
    ("received_by") and what it answers: "query", "round", the "guess" that was shown (None: none
    was), "guess_by" and whether it is as guessed ("prefill"). A slow reader holds up nobody: each
    chunk is of a moment of its own.
    """
    last = ""
    while True:
        with project.database.reader() as session:
            labelled = select(LabelRow.image_id).where(LabelRow.image_id > last).distinct()
            ids = list(session.scalars(labelled.order_by(LabelRow.image_id).limit(CHUNK)))
            records = _records(session, project, ids)
        if not ids:
            return
        yield from records
        last = ids[-1]


def _records(session: Session, project: Project, ids: Sequence[str]) -> list[dict[str, Any]]:
    labels: dict[str, list[LabelRow]] = defaultdict(list)
    annotations: dict[str, list[AnnotationRow]] = defaultdict(list)
    wanted = select(LabelRow).where(LabelRow.image_id.in_(ids))
    for label in session.scalars(wanted.order_by(LabelRow.task)):
        labels[label.image_id].append(label)
    for row in session.scalars(select(AnnotationRow).where(AnnotationRow.image_id.in_(ids))):
        annotations[row.image_id].append(row)
    asked = select(QueryRow).where(QueryRow.image_id.in_(ids))
    queries = {row.uid: row for row in session.scalars(asked)}
    called = dict(session.execute(select(PersonRow.id, PersonRow.name)).all())
    images = session.scalars(select(Image).where(Image.id.in_(ids)).order_by(Image.id))
    return [
        {
            "image": image.id,
            "location": project.absolute(image.location),
            "split": image.split,
            "labels": {one.task: one.value for one in labels[image.id]},
            "agreement": {one.task: one.agreement for one in labels[image.id]},
            "annotations": [
                _provenance(row, queries[row.query_uid], called.get(row.annotator))
                for row in present(annotations[image.id])
            ],
        }
        for image in images
    ]


def _provenance(row: AnnotationRow, query: QueryRow, name: str | None) -> dict[str, object]:
    was_shown = bool(query.guess) and not query.blind
    return {
        "annotator": row.annotator,
        "name": name,
        "event": row.event,
        "values": row.values,
        "updated_at": row.updated_at.isoformat(),
        "lead_time_s": row.lead_time_s,
        "received_by": row.received_by,
        "query": row.query_uid,
        "round": query.round_number,
        "guess": query.guess if was_shown else None,
        "guess_by": query.guess_by if was_shown else "",
        "prefill": row.prefill,
    }
