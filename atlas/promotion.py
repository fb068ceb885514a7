"""Which model answers, and back to the one before. No torch here."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from atlas.errors import ModelError
from atlas.store.tables import ModelRow, Promotion

ROLLED_BACK = "rolled back"  # the reason that takes the model before it away


def current_id(session: Session) -> str | None:
    """The model that answers now."""
    return session.scalar(select(Promotion.model_id).order_by(Promotion.id.desc()).limit(1))


def promote(session: Session, model_id: str, *, reason: str) -> None:
    """Let a model answer from now on.

    Raises:
        ModelError: no such model.
    """
    if session.get(ModelRow, model_id) is None:
        known = ", ".join(session.scalars(select(ModelRow.id).order_by(ModelRow.id))) or "none yet"
        raise ModelError(f"no model {model_id!r}; known: {known}")
    session.add(Promotion(model_id=model_id, reason=reason))
    session.flush()


def previous_id(session: Session) -> str | None:
    """The model that `roll_back` would go back to; None: there is none before."""
    history: list[str] = []
    for row in session.scalars(select(Promotion).order_by(Promotion.id)):
        if row.reason == ROLLED_BACK:
            history.pop()
        elif history[-1:] != [row.model_id]:  # what answers already stays one step
            history.append(row.model_id)
    return history[-2] if len(history) >= 2 else None


def roll_back(session: Session) -> str:
    """Go back to the model that answered before the present one; twice goes back two.

    Raises:
        ModelError: there was none before.
    """
    previous = previous_id(session)
    if previous is None:
        raise ModelError("no earlier model to roll back to; see `atlas models`")
    promote(session, previous, reason=ROLLED_BACK)
    return previous
