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
    # All of them but those of the few other images: looking up every label's image takes longer.
    everywhere = select(func.count(func.distinct(LabelRow.image_id)))
    has_label = select(LabelRow.image_id).where(LabelRow.image_id == Image.id).exists()
    others = (Image.split < "pool") | (Image.split > "pool")  # "!=" would not use the index
    elsewhere = select(func.count()).select_from(Image).where(others, has_label)
    return (session.scalar(everywhere) or 0) - (session.scalar(elsewhere) or 0)


def waiting_by_round(session: Session) -> dict[int, int]:
    """Open round → queries that nobody answered yet."""
    found = session.execute(
        select(QueryRow.round_number, func.count())
        .join(Round, Round.number == QueryRow.round_number)
        .where(QueryRow.state.not_in(ANSWERED), Round.state == "open")
        .group_by(QueryRow.round_number)
    )
    return dict(found.all())
