"""The kept guesses about images of the pool that nobody asks about, as far as they may be told.

An audit image has none, and no image that was ever asked blind: what is told here might reach
whoever labels it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session
import structlog

from atlas.analysis.stored import load_guesses
from atlas.chunks import chunks
from atlas.errors import ModelError
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import Image, QueryRow
from atlas.types import LABEL

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PoolGuess:
    """What a model says of an image.

    Attributes:
        model: its id.
        values: task → class; no quantities, of which nothing is kept.
        sure: how likely the finest level's class is, in [0, 1].
    """

    model: str
    values: Mapping[str, str]
    sure: float


def pool_guesses(project: Project, ids: Sequence[str]) -> dict[str, PoolGuess]:
    """Image id → the guess of the model that answers.

    Without those that are not to be told, and without any as long as the model is not analysed,
    some seconds after its promotion.
    """
    with project.database.reader() as session:
        model_id, told = current_id(session), _may_be_told(session, ids)
    if model_id is None or not told:
        return {}
    try:
        found = load_guesses(project, model_id)
    except ModelError as error:
        log.warning("no guesses about images that nobody queued", error=str(error))
        return {}
    taxonomy = project.taxonomy
    if found.classes != taxonomy.tasks:  # a model from before the classes were changed
        return {}
    finest = taxonomy.levels[-1]
    tasks = {LABEL: finest, **{name: name for name in taxonomy.attributes}}
    return {
        image_id: PoolGuess(
            model_id,
            {key: found.classes[task][found.best[task][place]] for key, task in tasks.items()},
            float(found.sure[finest][place]),
        )
        for place, image_id in enumerate(found.ids)
        if image_id in told
    }


def _may_be_told(session: Session, ids: Sequence[str]) -> set[str]:
    blind = select(QueryRow.image_id).where(QueryRow.blind)
    wanted = select(Image.id).where(Image.split == "pool", Image.id.not_in(blind))
    found: set[str] = set()
    for chunk in chunks(ids):
        found |= set(session.scalars(wanted.where(Image.id.in_(chunk))))
    return found
