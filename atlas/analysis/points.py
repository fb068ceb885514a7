"""What is known of each image of the map: its label, the model's guess, when it was asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas.analysis import pool_map
from atlas.analysis.classes import value_at
from atlas.analysis.stored import load_guesses, model_or_current
from atlas.errors import ModelError
from atlas.labels import training_labels
from atlas.project import Project
from atlas.store.tables import Image, ModelRow, QueryRow
from atlas.types import UNKNOWN


@dataclass(frozen=True)
class Points:
    """The images of the map at one level or attribute.

    Attributes:
        ids: N image ids.
        places: (N, 2) float32.
        classes: K class names.
        label: (N,) class index people gave, `UNKNOWN` where there is none.
        predicted: (N,) class index the model gives, `UNKNOWN` where it was not asked yet.
        sure: (N,) its probability, in [0, 1]; -1 where nothing is predicted.
        asked: (N,) number of the first round that asked about it, 0 where none did.
        explained: share of the variance that each axis shows.
        pool: images of the pool; more than N where a sample is shown.
    """

    ids: tuple[str, ...]
    places: NDArray[np.float32]
    classes: tuple[str, ...]
    label: NDArray[np.int16]
    predicted: NDArray[np.int16]
    sure: NDArray[np.float32]
    asked: NDArray[np.int16]
    explained: tuple[float, float]
    pool: int


def points(project: Project, level: str) -> Points:
    """The map as the model that answers now sees it.

    Raises:
        ModelError: there is no model yet, or its map is not drawn yet.
    """
    model_id = model_or_current(project, None)
    if model_id is None:
        raise ModelError("there is no model yet; the map is drawn with the first one")
    with project.database.reader() as session:
        fingerprint = session.get_one(ModelRow, model_id).fingerprint
        labels = training_labels(session)
        asked = _asked(session)
        pool = session.scalar(select(func.count()).where(Image.split == "pool")) or 0
    at = pool_map.load(project, fingerprint)
    said = load_guesses(project, model_id)
    if level not in said.classes:
        raise ModelError(f"model {model_id} was trained before there was a {level}; train again")
    classes = said.classes[level]
    index = {name: i for i, name in enumerate(classes)}
    known = {one: value_at(values, project.taxonomy, level) for one, values in labels.items()}
    row_of = {one: row for row, one in enumerate(at.ids)}
    both = [row_of.get(one, -1) for one in said.ids]
    return Points(
        ids=at.ids,
        places=at.places,
        classes=classes,
        label=_spread(
            ((one, index.get(name or "", UNKNOWN)) for one, name in known.items()), row_of
        ),
        predicted=_aligned(said.best[level], both, len(at.ids)).astype(np.int16),
        sure=_aligned(said.sure[level], both, len(at.ids)).astype(np.float32),
        asked=_spread(asked.items(), row_of, fill=0),
        explained=at.explained,
        pool=pool,
    )


def _asked(session: Session) -> Mapping[str, int]:
    """Image id → the first round that asked about it."""
    first = select(QueryRow.image_id, func.min(QueryRow.round_number)).group_by(QueryRow.image_id)
    return dict(session.execute(first).all())


def _spread(
    values: Iterable[tuple[str, int]], row_of: Mapping[str, int], *, fill: int = UNKNOWN
) -> NDArray[np.int16]:
    """(N,) the value of each image, `fill` where it has none."""
    result: NDArray[np.int16] = np.full(len(row_of), fill, dtype=np.int16)
    for image_id, value in values:
        if image_id in row_of:
            result[row_of[image_id]] = value
    return result


def _aligned(column: NDArray[np.generic], rows: Sequence[int], size: int) -> NDArray[np.generic]:
    """A column of the guesses in the order of the map, -1 where there is none."""
    at = np.array(rows, dtype=np.int64)
    result = np.full(size, UNKNOWN, dtype=column.dtype)
    result[at[at >= 0]] = column[at >= 0]
    return result
