"""How much less sure a model is of the images that came lately than of those before.

The difference of mean confidences tells how far accuracy falls where images have changed (Guillory
et al. 2021, 2107.03315), and needs no label.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import numpy as np
from sqlalchemy import select

from atlas.analysis.stored import POOL, load_guesses, root_of
from atlas.project import Project
from atlas.store.tables import Image

LEAST = 50  # images on either side: below, chance alone moves the mean by several points


@dataclass(frozen=True)
class Drift:
    """Of the pool, since some time.

    Attributes:
        images: pool images that came since and that the model has seen.
        levels: level → mean probability of the best class on the images before, minus the same on
            those since, in [-1, 1]; empty with fewer than `LEAST` images on either side.
    """

    images: int = 0
    levels: Mapping[str, float] = field(default_factory=dict)


def drift_since(project: Project, model_id: str, since: datetime) -> Drift:
    """What a model's stored guesses say; nothing where there are none yet.

    Raises:
        ModelError: they are damaged.
    """
    try:
        written_ns = (root_of(project) / model_id / f"{POOL}.npz").stat().st_mtime_ns
    except FileNotFoundError:
        return Drift()
    return _drift(project, model_id, written_ns, since)


@lru_cache(maxsize=8)  # asked at every tick, by each schedule; new images come with new guesses
def _drift(project: Project, model_id: str, _written_ns: int, since: datetime) -> Drift:
    wanted = select(Image.id).where(Image.split == "pool", Image.added_at > since)
    with project.database.reader() as session:
        came = set(session.scalars(wanted))
    guesses = load_guesses(project, model_id)
    new = np.array([one in came for one in guesses.ids], dtype=bool)
    if min(new.sum(), (~new).sum()) < LEAST:
        return Drift(int(new.sum()))
    levels = {
        task: float(sure[~new].mean(dtype=np.float64) - sure[new].mean(dtype=np.float64))
        for task, sure in guesses.sure.items()
    }
    return Drift(int(new.sum()), levels)
