"""Remembers that a pool had nothing left to ask, until it changes."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas.analysis.stored import count_images
from atlas.store.database import Database
from atlas.store.tables import LabelRow, Meta

KEY = "pool_exhausted"  # in Meta: what the pool was like then


def remember(database: Database) -> None:
    """Nothing is left to ask now."""
    with database.session() as session:
        session.merge(Meta(key=KEY, value=_state(session)))


def is_known(session: Session) -> bool:
    """Whether nothing was left to ask, and no image or label has come or gone since."""
    known = session.get(Meta, KEY)
    return known is not None and known.value == _state(session)


def _state(session: Session) -> str:
    labels = session.scalar(select(func.count()).select_from(LabelRow))
    return f"{count_images(session)} images, {labels} labels"
