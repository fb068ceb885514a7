"""The images that wait for an answer, each with why it was asked."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from atlas.project import Project
from atlas.round_state import ANSWERED
from atlas.store.tables import QueryRow, Round


@dataclass(frozen=True)
class Waiting:
    """One image in the queue.

    Attributes:
        place: 1 is asked next.
        image: its id.
        kind: "query" or "audit".
        blind: whether whoever answers sees no guess.
        state: "chosen" or "pushed", that is, known to the oracle.
        reason: why it was asked.
        score: of the sampler, higher = asked sooner; None for an audit image.
        guess: task → what the model believes; empty for an audit image.
        confidence: task → probability of the guess, in [0, 1].
        task: the oracle's id of the task; None before it was sent.
    """

    place: int
    image: str
    kind: str
    blind: bool
    state: str
    reason: str
    score: float | None
    guess: Mapping[str, str]
    confidence: Mapping[str, float]
    task: str | None


@dataclass(frozen=True)
class Queue:
    """A part of the queue, and what is known of the whole.

    Attributes:
        listed: in the order they are asked.
        total: how many wait.
        round_number: of the open round; None where none is open.
        sampler: that chose them.
        note: what the round recorded about that.
    """

    listed: list[Waiting]
    total: int
    round_number: int | None
    sampler: str = ""
    note: str = ""


def waiting(project: Project, *, start: int, limit: int) -> Queue:
    """The queue from its `start`-th place (0 is the first) on, `limit` images at most."""
    with project.database.reader() as session:
        this = session.scalar(select(Round).where(Round.state == "open"))
        if this is None:
            return Queue([], 0, None)
        open_queries = (QueryRow.round_number == this.number, QueryRow.state.not_in(ANSWERED))
        total = session.scalar(select(func.count()).select_from(QueryRow).where(*open_queries))
        rows = session.scalars(
            select(QueryRow)
            .where(*open_queries)
            .order_by(QueryRow.priority)
            .offset(start)
            .limit(limit)
        )
        listed = [_waiting(place, row) for place, row in enumerate(rows, start + 1)]
    return Queue(listed, total or 0, this.number, this.sampler, this.note)


def _waiting(place: int, row: QueryRow) -> Waiting:
    return Waiting(
        place=place,
        image=row.image_id,
        kind=row.kind,
        blind=row.blind,
        state=row.state,
        reason=row.reason,
        score=None if row.kind == "audit" else row.score,
        guess=row.guess,
        confidence=row.confidence,
        task=row.task_id,
    )
