"""Append-only annotations → one label a task.

The present answer of an annotator is the latest one they gave; a deletion takes it away. Over
several annotators `atlas.consensus` decides. Of a quantity it is the median, which one slip of the
hand cannot move far; those within 5% of it agree.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from atlas.chunks import chunks
from atlas.consensus import Consensus, middle, most_common, weights
from atlas.settling import Settling, present, standing, votes_of
from atlas.store.tables import AnnotationRow, Image, LabelRow, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, Annotation, utc_now

__all__ = ["audit_labels", "present", "record", "training_labels"]

LabelsByImage = dict[str, dict[str, str]]


def record(
    session: Session,
    annotations: Sequence[Annotation],
    *,
    received_by: str,
    taxonomy: Taxonomy,
    consensus: Consensus = "majority",
) -> int:
    """Append what is new and resolve the labels it touches. Safe to repeat.

    Annotations of queries that this project does not know are passed over.

    Args:
        session: an open transaction.
        annotations: in any order.
        received_by: "webhook", "poll" or "simulated".
        taxonomy: every value must be in it.
        consensus: how several people's answers become one label.

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
        _resolve(session, touched, taxonomy, consensus)
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


def _resolve(
    session: Session, queries: Sequence[QueryRow], taxonomy: Taxonomy, consensus: Consensus
) -> None:
    """Bring query states, labels and the rounds' clocks in line with the annotations."""
    image_ids = sorted({query.image_id for query in queries})
    by_image: dict[str, list[AnnotationRow]] = defaultdict(list)
    for row in _where_in(session, AnnotationRow, AnnotationRow.image_id, image_ids):
        by_image[row.image_id].append(row)
    for chunk in chunks(image_ids):
        session.execute(delete(LabelRow).where(LabelRow.image_id.in_(chunk)))
    trust = _trust(session, taxonomy) if consensus == "weighted" else {}
    found: list[dict[str, Any]] = []
    for image_id in image_ids:
        found += _vote(image_id, standing(by_image[image_id]), taxonomy, trust)
    if found:
        session.execute(insert(LabelRow), found)
    settling = Settling(session, taxonomy)
    for query in queries:
        of_query = [row for row in by_image[query.image_id] if row.query_uid == query.uid]
        settling.settle(query, standing(of_query))
    _stamp_rounds(session, queries)


def _trust(session: Session, taxonomy: Taxonomy) -> dict[str, float]:
    """Person → weight, from every image that was labelled more than once."""
    several = (
        select(AnnotationRow.image_id)
        .group_by(AnnotationRow.image_id)
        .having(func.count(func.distinct(AnnotationRow.annotator)) > 1)
    )
    by_image: dict[str, list[AnnotationRow]] = defaultdict(list)
    for row in session.scalars(select(AnnotationRow).where(AnnotationRow.image_id.in_(several))):
        by_image[row.image_id].append(row)
    votes = [
        [(row.annotator, row.values[LABEL]) for row in standing(rows) if LABEL in row.values]
        for rows in by_image.values()
    ]
    return weights(votes, max(2, len(taxonomy.leaves)))


def _vote(
    image_id: str,
    answers: Sequence[AnnotationRow],
    taxonomy: Taxonomy,
    trust: Mapping[str, float],
) -> list[dict[str, Any]]:
    rows = []
    for task, votes in votes_of(answers).items():
        quantity = task in taxonomy.quantities
        value, agreeing = middle(votes) if quantity else most_common(votes, trust)
        rows.append(
            {
                "image_id": image_id,
                "task": task,
                "value": value,
                "agreement": agreeing / len(votes),
                "annotations": len(votes),
            }
        )
    return rows


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
    for chunk in chunks(values):
        found += session.scalars(select(table).where(column.in_(chunk)))
    return found
