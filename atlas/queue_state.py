"""What the order of the open round rests on, and whether that has changed; loads no torch.

The order is made when the round is opened and anew in every turn: when labels arrive, and when
another model comes to answer.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
import json

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas.project import Project
from atlas.promotion import current_id
from atlas.round_state import count_labels, open_number
from atlas.store.tables import AnnotationRow, Image, Meta, Promotion, QueryRow

KEY = "queue_state"
LABELS_A_FOLD = 2  # as many as a first model's folds want before it says anything


@dataclass(frozen=True)
class Knowledge:
    """What guesses and scores are made from.

    Attributes:
        annotation: the latest one of a pool image; 0 before the first.
        promotion: the latest one; 0 before the first.
    """

    annotation: int = 0
    promotion: int = 0


@dataclass(frozen=True)
class QueueState:
    """The order that annotators have now.

    Attributes:
        round: whose queries.
        turn: how often they were scored again; a number that was begun is never used twice.
        knows: what the order rests on.
    """

    round: int
    turn: int = 0
    knows: Knowledge = Knowledge()


@dataclass(frozen=True)
class Place:
    """A waiting query's place in the order, and the model's guess; none for a blind one."""

    uid: str
    task_id: str
    priority: int
    guess: Mapping[str, str]
    confidence: Mapping[str, float]
    score: float = 0.0


def knowledge(session: Session) -> Knowledge:
    """What there is to know now. Answers about audit images teach nothing."""
    latest = (
        select(func.max(AnnotationRow.id))
        .join(Image, Image.id == AnnotationRow.image_id)
        .where(Image.split == "pool")
    )
    return Knowledge(
        annotation=session.scalar(latest) or 0,
        promotion=session.scalar(select(func.max(Promotion.id))) or 0,
    )


def load(session: Session, number: int) -> QueueState:
    """The state of that round's order; one that knows nothing where none was kept."""
    row = session.get(Meta, KEY)
    content = json.loads(row.value) if row is not None else {}
    if content.get("round") != number:
        return QueueState(number)
    return QueueState(number, content["turn"], Knowledge(**content["knows"]))


def save(session: Session, state: QueueState) -> None:
    """Keep the state of the open round's order."""
    session.merge(Meta(key=KEY, value=json.dumps(asdict(state))))


def begin_turn(project: Project, number: int) -> int:
    """The number of the next turn, used up whatever comes of it.

    The guesses of a turn that broke off may lie in the oracle under its number.
    """
    with project.database.session() as session:
        state = load(session, number)
        save(session, replace(state, turn=state.turn + 1))
        return state.turn + 1


def came_late(session: Session, number: int) -> None:
    """Queries were pushed: where others have been scored again, those want it too."""
    state = load(session, number)
    if state.turn:
        save(session, replace(state, knows=Knowledge()))


def is_due(session: Session, project: Project) -> bool:
    """Whether the waiting queries should be scored again."""
    number = open_number(session) if project.settings.round.rescore else None
    if number is None:
        return False
    states = set(
        session.scalars(
            select(QueryRow.state)
            .where(QueryRow.round_number == number, QueryRow.blind.is_(False))
            .distinct()
        )
    )
    if "pushed" not in states or "chosen" in states:  # all answered, or not all pushed yet
        return False
    if load(session, number).knows == knowledge(session):
        return False
    enough = LABELS_A_FOLD * project.settings.head.folds
    return current_id(session) is not None or count_labels(session) >= enough
