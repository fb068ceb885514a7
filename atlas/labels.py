"""Append-only annotations → one label a task.

The present answer of an annotator is the latest version of it; a deletion takes it away. Over
several annotators the most common value wins, and of equally common ones the latest given. Of a
quantity it is the median, which one slip of the hand cannot move far; those within 5% of it agree.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import median
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from atlas.store.tables import AnnotationRow, Image, LabelRow, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import Annotation, utc_now

LabelsByImage = dict[str, dict[str, str]]
_IN_CHUNK = 500  # SQLite bounds the number of parameters of one statement
AGREEING = 0.05  # of the median's size


def record(
    session: Session,
    annotations: Sequence[Annotation],
    *,
    received_by: str,
    taxonomy: Taxonomy,
) -> int:
    """Append what is new and resolve the labels it touches. Safe to repeat.

    Annotations of queries that this project does not know are passed over.

    Args:
        session: an open transaction.
        annotations: in any order.
        received_by: "webhook", "poll" or "simulated".
        taxonomy: every value must be in it.

    Returns:
        How many annotations were new.

    Raises:
        TaxonomyError: a value outside the taxonomy; nothing is recorded.
    """
    for annotation in annotations:
        taxonomy.check(annotation.values)
    uids = sorted({annotation.query_uid for annotation in annotations})
    queries = {row.uid: row for row in _where_in(session, QueryRow, QueryRow.uid, uids)}
    known = {
        (row.external_id, row.event, row.updated_at)
        for row in _where_in(session, AnnotationRow, AnnotationRow.query_uid, uids)
    }
    new = []
    for annotation in annotations:
        version = (annotation.external_id, annotation.event, annotation.updated_at)
        if annotation.query_uid in queries and version not in known:
            known.add(version)
            image_id = queries[annotation.query_uid].image_id
            new.append(_row(annotation, image_id, received_by))
    if new:
        session.execute(insert(AnnotationRow), new)
        touched = [queries[uid] for uid in sorted({row["query_uid"] for row in new})]
        _resolve(session, touched, taxonomy)
    return len(new)


def training_labels(session: Session) -> LabelsByImage:
    """Image id → task → value for every labelled image that is not in the audit set."""
    return _labels(session, "pool")


def audit_labels(session: Session) -> LabelsByImage:
    """Image id → task → value for the labelled audit images: for measuring alone."""
    return _labels(session, "audit")


def _labels(session: Session, split: str) -> LabelsByImage:
    found: LabelsByImage = defaultdict(dict)
    rows = session.execute(
        select(LabelRow.image_id, LabelRow.task, LabelRow.value)
        .join(Image, Image.id == LabelRow.image_id)
        .where(Image.split == split)
        .order_by(LabelRow.image_id)
    )
    for image_id, task, value in rows:
        found[image_id][task] = value
    return dict(found)


def present(rows: Sequence[AnnotationRow]) -> list[AnnotationRow]:
    """The latest version of every answer that still stands, oldest first; a deletion is final."""
    latest: dict[str, AnnotationRow] = {}
    deleted = {row.external_id for row in rows if row.event == "deleted"}
    for row in sorted(rows, key=lambda row: (row.updated_at, row.id)):
        latest.pop(row.external_id, None)  # so that an edited answer moves to the end
        latest[row.external_id] = row
    return [row for row in latest.values() if row.external_id not in deleted]


def _resolve(session: Session, queries: Sequence[QueryRow], taxonomy: Taxonomy) -> None:
    """Bring query states, labels and the rounds' clocks in line with the annotations."""
    image_ids = sorted({query.image_id for query in queries})
    by_image: dict[str, list[AnnotationRow]] = defaultdict(list)
    for row in _where_in(session, AnnotationRow, AnnotationRow.image_id, image_ids):
        by_image[row.image_id].append(row)
    for chunk in _chunks(image_ids):
        session.execute(delete(LabelRow).where(LabelRow.image_id.in_(chunk)))
    labels: list[dict[str, Any]] = []
    for image_id in image_ids:
        answers = [row for row in present(by_image[image_id]) if row.event == "submitted"]
        labels += _vote(image_id, answers, taxonomy)
    if labels:
        session.execute(insert(LabelRow), labels)
    for query in queries:
        query.state = _state(
            [row for row in by_image[query.image_id] if row.query_uid == query.uid]
        )
    _stamp_rounds(session, queries)


def _vote(
    image_id: str, answers: Sequence[AnnotationRow], taxonomy: Taxonomy
) -> list[dict[str, Any]]:
    votes: dict[str, list[str]] = defaultdict(list)
    for answer in answers:  # oldest first
        for task, value in answer.values.items():
            votes[task].append(value)
    rows = []
    for task, values in votes.items():
        resolve = middle if task in taxonomy.quantities else most_common
        value, agreeing = resolve(values)
        rows.append(
            {
                "image_id": image_id,
                "task": task,
                "value": value,
                "agreement": agreeing / len(values),
                "annotations": len(values),
            }
        )
    return rows


def most_common(values: Sequence[str]) -> tuple[str, int]:
    """The value given most often, of several the latest, and how often; `values` oldest first."""
    count = Counter(values)
    most = max(count.values())
    return next(value for value in reversed(values) if count[value] == most), most


def middle(values: Sequence[str]) -> tuple[str, int]:
    """The median of numbers written as text, and how many are within `AGREEING` of it.

    Of an even number it is the mean of the two in the middle. In proportion to the median, since a
    quantity may have any unit; where the median is 0 only 0 agrees.
    """
    numbers = [float(value) for value in values]
    between = median(numbers)
    near = sum(abs(number - between) <= AGREEING * abs(between) for number in numbers)
    return f"{between:.15g}", near


def _state(rows: Sequence[AnnotationRow]) -> str:
    standing = present(rows)
    if any(row.event == "submitted" for row in standing):
        return "answered"
    return "skipped" if standing else "pushed"


def _stamp_rounds(session: Session, queries: Sequence[QueryRow]) -> None:
    numbers = sorted({query.round_number for query in queries})
    for row in _where_in(session, Round, Round.number, numbers):
        row.last_label_at = utc_now()


def _row(annotation: Annotation, image_id: str, received_by: str) -> dict[str, Any]:
    return {
        "external_id": annotation.external_id,
        "query_uid": annotation.query_uid,
        "image_id": image_id,
        "event": annotation.event,
        "values": dict(annotation.values),
        "annotator": annotation.annotator,
        "updated_at": annotation.updated_at,
        "received_at": utc_now(),
        "received_by": received_by,
        "lead_time_s": annotation.lead_time_s,
        "prefill": annotation.prefill,
    }


def _where_in(session: Session, table: Any, column: Any, values: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for chunk in _chunks(values):
        found += session.scalars(select(table).where(column.in_(chunk)))
    return found


def _chunks(values: Sequence[Any]) -> Iterator[list[Any]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _IN_CHUNK)):
        yield chunk
