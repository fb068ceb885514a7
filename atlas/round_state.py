"""Where the rounds stand, read from their rows; loads no torch, so that looking is cheap."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas.store.tables import Image, LabelRow, QueryRow, Round

ANSWERED = ("answered", "skipped")
TO_PUSH = ("chosen", "disputed")  # the oracle is to be told


def open_number(session: Session) -> int | None:
    """The number of the open round, if one is."""
    return session.scalar(select(Round.number).where(Round.state == "open"))


def is_complete(session: Session, number: int) -> bool:
    """Whether every query of the round was answered or skipped."""
    waiting = select(func.count()).where(
        QueryRow.round_number == number, QueryRow.state.not_in(ANSWERED)
    )
    return session.scalar(waiting) == 0


def count_labels(session: Session) -> int:
    """How many pool images have a label."""
    labelled = (
        select(func.count(func.distinct(LabelRow.image_id)))
        .join(Image, Image.id == LabelRow.image_id)
        .where(Image.split == "pool")
    )
    return session.scalar(labelled) or 0


def waiting_by_round(session: Session) -> dict[int, int]:
    """Open round → queries that nobody answered yet."""
    found = session.execute(
        select(QueryRow.round_number, func.count())
        .join(Round, Round.number == QueryRow.round_number)
        .where(QueryRow.state.not_in(ANSWERED), Round.state == "open")
        .group_by(QueryRow.round_number)
    )
    return dict(found.all())
