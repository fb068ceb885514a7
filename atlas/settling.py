"""When the answers to a query are enough, and when one more person is asked.

A query is settled once as many people as it asks have answered and more than half of them gave the
same label. A skip is an answer, but no vote. Where they differ, or skips leave too few votes, one
more person is asked, once, if anybody else has ever labelled here; after that, and in a round that
is over, the most common answer decides. Where everybody skipped, the query is skipped.

Label Studio lets more people answer than were asked (see docs/label-studio.md). Every answer is
kept and counts; the query says how many came unasked.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session
import structlog

from atlas.consensus import Vote, middle, most_common
from atlas.store.tables import AnnotationRow, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

log = structlog.get_logger(__name__)


def present(rows: Sequence[AnnotationRow]) -> list[AnnotationRow]:
    """The latest version of every answer that still stands, oldest first; a deletion is final."""
    latest: dict[str, AnnotationRow] = {}
    deleted = {row.external_id for row in rows if row.event == "deleted"}
    for row in sorted(rows, key=lambda row: (row.updated_at, row.id)):
        latest.pop(row.external_id, None)  # so that an edited answer moves to the end
        latest[row.external_id] = row
    return [row for row in latest.values() if row.external_id not in deleted]


def standing(rows: Sequence[AnnotationRow]) -> list[AnnotationRow]:
    """Each person's latest answer, oldest first; a skip only where they gave no other."""
    latest: dict[str, AnnotationRow] = {}
    found = present(rows)
    for row in [*(r for r in found if r.event == "skipped"), *_submitted(found)]:
        person = row.annotator or row.external_id
        latest.pop(person, None)
        latest[person] = row
    return sorted(latest.values(), key=lambda row: (row.updated_at, row.id))


def votes_of(answers: Sequence[AnnotationRow]) -> dict[str, list[Vote]]:
    """Task → who gave which value, oldest first."""
    votes: dict[str, list[Vote]] = defaultdict(list)
    for answer in _submitted(answers):
        for task, value in answer.values.items():
            votes[task].append((answer.annotator, value))
    return votes


def settle(
    session: Session, query: QueryRow, answers: Sequence[AnnotationRow], taxonomy: Taxonomy
) -> None:
    """Set the query's state by the answers that stand, one a person."""
    people = len(answers)
    if people > query.overlap:
        _tell_surplus(query, answers)
    if people < query.overlap:
        query.state = query.state if query.state in ("chosen", "disputed") else "pushed"
    elif _is_disputed(query, answers, taxonomy) and _somebody_else(session, query, people):
        query.state, query.extra, query.overlap = "disputed", True, people + 1
    else:
        query.state = "answered" if _submitted(answers) else "skipped"


def _is_disputed(query: QueryRow, answers: Sequence[AnnotationRow], taxonomy: Taxonomy) -> bool:
    """Whether no value of some task has more than half of the votes; only the first time."""
    votes = votes_of(answers)
    if query.extra or not votes:
        return False
    for task, given in votes.items():
        _, agreeing = middle(given) if task in taxonomy.quantities else most_common(given, {})
        wanted = max(len(given), query.overlap) if task == LABEL else len(given)
        if 2 * agreeing <= wanted:
            return True
    return False


def _somebody_else(session: Session, query: QueryRow, people: int) -> bool:
    """Whether the round is open and more people than these have ever labelled here."""
    if session.get_one(Round, query.round_number).state != "open":
        return False
    known = session.scalar(select(func.count(func.distinct(AnnotationRow.annotator))))
    return (known or 0) > people


def _tell_surplus(query: QueryRow, answers: Sequence[AnnotationRow]) -> None:
    surplus = len(answers) - query.overlap
    if surplus > query.surplus:
        query.surplus = surplus
        log.warning(
            "labelled by more people than were asked; all answers are kept",
            query=query.uid,
            asked=query.overlap,
            annotators=[row.annotator for row in answers],
            labels=[row.values.get(LABEL, row.event) for row in answers],
        )


def _submitted(rows: Sequence[AnnotationRow]) -> list[AnnotationRow]:
    return [row for row in rows if row.event == "submitted"]
