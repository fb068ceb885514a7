"""Labels out, one JSON object a line, each with where it came from."""

import json
from pathlib import Path

from sqlalchemy import select

from atlas.errors import explain_full_disk
from atlas.labels import present
from atlas.project import Project
from atlas.store.tables import AnnotationRow, Image, LabelRow


def export_labels(project: Project, path: Path) -> int:
    """Write every label with its provenance; returns how many images.

    A line: {"image", "location", "split", "labels": {task: value}, "agreement": {task: share},
    "annotations": [{"annotator", "values", "updated_at", "prefill", "query"}]}.
    """
    records: dict[str, dict[str, object]] = {}
    with project.database.reader() as session:
        labels = session.execute(select(LabelRow, Image).join(Image).order_by(Image.id)).all()
        annotations: dict[str, list[AnnotationRow]] = {}
        for row in session.scalars(select(AnnotationRow)):
            annotations.setdefault(row.image_id, []).append(row)
        values: dict[str, dict[str, str]] = {}
        agreement: dict[str, dict[str, float]] = {}
        for label, image in labels:
            values.setdefault(image.id, {})[label.task] = label.value
            agreement.setdefault(image.id, {})[label.task] = label.agreement
            records[image.id] = {
                "image": image.id,
                "location": project.absolute(image.location),
                "split": image.split,
                "labels": values[image.id],
                "agreement": agreement[image.id],
                "annotations": [_provenance(row) for row in present(annotations[image.id])],
            }
    temporary = path.with_name(f".{path.name}.tmp")
    with explain_full_disk(path), temporary.open("w", encoding="utf-8") as file:
        for record in records.values():
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    temporary.replace(path)
    return len(records)


def _provenance(row: AnnotationRow) -> dict[str, object]:
    return {
        "annotator": row.annotator,
        "event": row.event,
        "values": row.values,
        "updated_at": row.updated_at.isoformat(),
        "prefill": row.prefill,
        "query": row.query_uid,
    }
