"""Stores what a model says of the images, for everything that looks at it without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from atlas.analysis import pool_map, stored
from atlas.analysis.stored import AUDIT, OUT_OF_FOLD, POOL, Guesses, Predictions
from atlas.bottleneck import BottleneckCache
from atlas.errors import ModelError
from atlas.evaluation import CHUNK, fold_probs, predict
from atlas.heads import Head
from atlas.labels import training_labels
from atlas.project import Project
from atlas.registry import Bundle, load_bundle, load_folds
from atlas.store.tables import Image
from atlas.types import Rows


@dataclass(frozen=True)
class _Images:
    """Those of the wanted images that have a bottleneck, and their rows."""

    ids: tuple[str, ...]
    rows: Rows


def analyse(project: Project) -> Mapping[str, Any]:
    """Store the present model's predictions and the map of the pool. Safe to repeat.

    Every audit image is predicted, labelled or not, so that labels which come later are counted
    at once. An image without a bottleneck is passed over.

    Returns:
        {"model", "audit", "out_of_fold", "pool"}: how many images of each.

    Raises:
        ModelError: no model yet, or it does not load.
        DiskFull: no room.
    """
    model_id = stored.model_or_current(project, None)
    if model_id is None:
        raise ModelError("no model yet; label some queries, then run `atlas train`")
    bundle = load_bundle(project.models / model_id)
    cache = BottleneckCache(
        project.bottlenecks, fingerprint=bundle.fingerprint, features=bundle.head.features
    )
    with project.database.reader() as session:
        known = session.execute(select(Image.id, Image.sha256, Image.split).order_by(Image.id))
        images = known.all()
        labelled = set(training_labels(session))
    hashes = {row.id: row.sha256 for row in images}
    folder = stored.root_of(project) / model_id
    audit = _there(cache, hashes, [row.id for row in images if row.split == "audit"])
    stored.save_predictions(folder, AUDIT, _probs(bundle.head, audit))
    folds = _out_of_fold(project, model_id, bundle, (cache, hashes, labelled))
    stored.save_predictions(folder, OUT_OF_FOLD, folds)
    shown = pool_map.sample([row.id for row in images if row.split == "pool"])
    pool = _there(cache, hashes, shown)
    pool_map.save(project, bundle.fingerprint, pool.ids, pool.rows)
    stored.save_guesses(folder, _guesses(bundle.head, pool))
    stored.write_facts(folder, {"images": len(images), "fingerprint": bundle.fingerprint})
    _forget_older_pools(project, model_id)
    sizes = {"audit": len(audit.ids), "out_of_fold": len(folds.ids), "pool": len(pool.ids)}
    return {"model": model_id, **sizes}


def _there(cache: BottleneckCache, hashes: Mapping[str, str], ids: Sequence[str]) -> _Images:
    missing = set(cache.missing([hashes[one] for one in ids]).tolist())
    found = tuple(one for row, one in enumerate(ids) if row not in missing)
    return _Images(found, cache.rows([hashes[one] for one in found]))


def _probs(head: Head, images: _Images) -> Predictions:
    return Predictions(images.ids, head.taxonomy.tasks, predict(head, images.rows))


def _out_of_fold(
    project: Project,
    model_id: str,
    bundle: Bundle,
    at: tuple[BottleneckCache, Mapping[str, str], set[str]],
) -> Predictions:
    """Of each label that the model was trained on, by the head that never saw it."""
    cache, hashes, labelled = at
    folds = load_folds(project.models / model_id, bundle)
    images = _there(cache, hashes, sorted(labelled & set(folds.of_image)))
    tasks = bundle.head.taxonomy.tasks
    if not folds.heads:
        return Predictions((), tasks, predict(bundle.head, images.rows[:0]))
    of_row = np.array([folds.of_image[one] for one in images.ids], dtype=np.int64)
    return Predictions(images.ids, tasks, fold_probs(folds.heads, of_row, images.rows))


def _guesses(head: Head, images: _Images) -> Guesses:
    """In chunks: of a large pool the probabilities of every class are never held at once."""
    tasks = head.taxonomy.tasks
    best: dict[str, NDArray[np.int16]] = {
        task: np.zeros(len(images.ids), dtype=np.int16) for task in tasks
    }
    sure: dict[str, NDArray[np.float32]] = {
        task: np.zeros(len(images.ids), dtype=np.float32) for task in tasks
    }
    for start in range(0, len(images.ids), CHUNK):
        part = slice(start, start + CHUNK)
        for task, probs in predict(head, images.rows[part]).items():
            best[task][part] = probs.argmax(axis=1)
            sure[task][part] = probs.max(axis=1)
    return Guesses(images.ids, tasks, best, sure)


def _forget_older_pools(project: Project, model_id: str) -> None:
    """The map shows the model that answers now; an old one's would be megabytes for nothing."""
    for folder in stored.root_of(project).iterdir():
        if folder.name != model_id and (folder / f"{POOL}.npz").exists():
            (folder / f"{POOL}.npz").unlink()
            (folder / stored.FACTS).unlink(missing_ok=True)  # promoted again it is analysed again
