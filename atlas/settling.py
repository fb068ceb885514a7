"""When the answers to a query are enough, and when one more person is asked.

A query is settled once as many people as it asks have answered and more than half of them gave the
same label. A skip is an answer, but no vote. Where they differ, or skips leave too few votes, one
more person is asked, once, if anybody else is there: somebody who answered something in the last
seven days, or whose account is not older than that. Nobody waits longer than seven days after the
last answer to the query. Where nobody is there, and in a round that is over, the most common answer
decides. Where everybody skipped, the query is skipped.

Label Studio lets more people answer than were asked (see docs/label-studio.md). Every answer is
kept and counts; the query says how many came unasked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
import json

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session
import structlog

from atlas.consensus import Vote, middle, most_common
from atlas.store.tables import AnnotationRow, LabelRow, Meta, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, utc_now

LATELY = timedelta(days=7)
NEWCOMERS = "newcomers"  # key in Meta: id → since when, of accounts that may never have answered
MAJORITY = 0.5  # of the votes; more than that

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


class Settling:
    """Settles queries within one transaction; who is there is looked up once, if it matters.

    Args:
        session: an open transaction, with every answer in it.
        taxonomy: which tasks are numbers.
    """

    def __init__(self, session: Session, taxonomy: Taxonomy) -> None:
        self._session = session
        self._taxonomy = taxonomy
        self._since = utc_now() - LATELY

    def settle(self, query: QueryRow, answers: Sequence[AnnotationRow]) -> None:
        """Set the query's state by the answers that stand, one a person, oldest first."""
        people, asked = len(answers), query.overlap - query.extra
        if people > query.overlap:
            _tell_surplus(query, answers)
        if people < asked:
            query.state = query.state if query.state in ("chosen", "disputed") else "pushed"
        elif self._asks_one_more(query, answers):
            if not query.extra:
                query.state, query.extra, query.overlap = "disputed", True, people + 1
            elif query.state != "pushed":
                query.state = "disputed"
        else:
            query.state = "answered" if _submitted(answers) else "skipped"

    def _asks_one_more(self, query: QueryRow, answers: Sequence[AnnotationRow]) -> bool:
        """Whether the answers are split, and somebody who gave none of them can be waited for."""
        was_asked = query.extra and len(answers) >= query.overlap
        if was_asked or not _is_split(answers, query.overlap - query.extra, self._taxonomy):
            return False
        is_open = self._session.get_one(Round, query.round_number).state == "open"
        is_fresh = answers[-1].updated_at >= self._since
        return is_open and is_fresh and bool(self._there - {row.annotator for row in answers})

    @cached_property
    def _there(self) -> set[str]:
        """Who answered something lately, or has a new account."""
        lately = select(AnnotationRow.annotator).where(AnnotationRow.updated_at >= self._since)
        kept = self._session.get(Meta, NEWCOMERS)
        joined = json.loads(kept.value) if kept is not None else {}
        new = {person for person, at in joined.items() if datetime.fromisoformat(at) >= self._since}
        return new | {person for person in self._session.scalars(lately.distinct()) if person}


def resettle(session: Session, taxonomy: Taxonomy) -> int:
    """Look again at who is there, since people come and go without an answer that tells.

    Ends waiting for somebody who does not come, and asks who has come since, in a round that goes
    on anyway.

    Returns:
        How many queries it changed.
    """
    in_open = QueryRow.round_number.in_(select(Round.number).where(Round.state == "open"))
    waits = select(QueryRow.uid).where(in_open, QueryRow.state.not_in(("answered", "skipped")))
    again = and_(QueryRow.extra, QueryRow.state.in_(("pushed", "disputed")))
    if session.scalar(waits.limit(1)) is not None:
        tied = select(LabelRow.image_id).where(LabelRow.agreement <= MAJORITY)
        again |= and_(in_open, QueryRow.state == "answered", QueryRow.image_id.in_(tied))
    by_query: dict[str, list[AnnotationRow]] = defaultdict(list)
    images = AnnotationRow.image_id.in_(select(QueryRow.image_id).where(again))
    for row in session.scalars(select(AnnotationRow).where(images)):
        by_query[row.query_uid].append(row)
    settling, changed = Settling(session, taxonomy), 0
    for query in session.scalars(select(QueryRow).where(again)).all():
        answers, before = standing(by_query[query.uid]), query.state
        if len(answers) > 1:
            settling.settle(query, answers)
        changed += query.state != before
    return changed


def count_unsettled(session: Session) -> int:
    """Images of which no label, or value of some other task, has more than half of the votes."""
    images = func.count(func.distinct(LabelRow.image_id))
    return session.scalar(select(images).where(LabelRow.agreement <= MAJORITY)) or 0


def count_unasked(session: Session) -> int:
    """Queries that more people answered than were asked."""
    found = select(func.count()).select_from(QueryRow)
    return session.scalar(found.where(QueryRow.surplus > 0)) or 0


def keep_newcomers(session: Session, joined: Mapping[str, datetime]) -> None:
    """Remember the accounts that are new, and forget those that no longer are.

    Args:
        session: an open transaction.
        joined: annotator → when their account was made, of everybody who may label.
    """
    since = utc_now() - LATELY
    new = {person: at.isoformat() for person, at in sorted(joined.items()) if at >= since}
    session.merge(Meta(key=NEWCOMERS, value=json.dumps(new)))


def _is_split(answers: Sequence[AnnotationRow], asked: int, taxonomy: Taxonomy) -> bool:
    """Whether no value of some task has more than half of the votes of those who were asked."""
    for task, given in votes_of(answers).items():
        _, agreeing = middle(given) if task in taxonomy.quantities else most_common(given, {})
        wanted = max(len(given), asked) if task == LABEL else len(given)
        if agreeing <= MAJORITY * wanted:
            return True
    return False


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
