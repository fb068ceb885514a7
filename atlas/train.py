"""Labels and cached bottlenecks in, a measured and registered model out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from atlas import registry
from atlas.accuracy import save_counts, save_errors
from atlas.answering import said_of
from atlas.backbone import Backbone
from atlas.bottleneck import BottleneckCache
from atlas.embedding import open_cache, project_backbone
from atlas.errors import TrainingError
from atlas.evaluation import absolute_errors, count_correct, fold_probs
from atlas.heads import Head
from atlas.labels import audit_labels, training_labels
from atlas.project import Project
from atlas.promotion import promote
from atlas.registry import FoldHeads
from atlas.settings import HeadSettings
from atlas.showing import threshold_for
from atlas.store.tables import Image, ModelRow
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import Fit, fit_head, moments
from atlas.training.uda_heads import ViewRows
from atlas.types import LABEL, Rows, utc_now
from atlas.views import view_rows

MOMENTS_SAMPLE = 5000


@dataclass(frozen=True)
class TrainingData:
    """Labelled bottlenecks, and the pool they are standardised by; images in order of their id.

    Views of the labelled images, if any, are in the same order.
    """

    rows: Rows
    labels: Sequence[Mapping[str, str]]
    pool: Rows
    views: ViewRows | None = None

    def moments(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Mean and spread of the pool, (D,) each, from a sample where it is large."""
        size = len(self.pool)
        sample: NDArray[np.intp] = np.arange(size)
        if size > MOMENTS_SAMPLE:
            sample = np.sort(rng.choice(size, MOMENTS_SAMPLE, replace=False))
        return moments(self.pool[sample])


def learn(data: TrainingData, taxonomy: Taxonomy, settings: HeadSettings, *, seed: int) -> Fit:
    """Fit the head of `settings`; the same seed and number of labels give the same folds.

    Raises:
        TrainingError: no labels.
    """
    rng = np.random.default_rng([seed, len(data.labels)])
    return fit_head(
        data.rows[:],
        data.labels,
        taxonomy=taxonomy,
        settings=settings,
        pool_moments=data.moments(rng),
        rng=rng,
        views=data.views,
    )


def labelled_data(project: Project) -> TrainingData:
    """Every labelled image of the pool, as a fit sees it.

    Raises:
        TrainingError: no labels yet.
        CacheError: a labelled image has no bottleneck; embed first.
    """
    cache = open_cache(project, project_backbone(project))
    with project.database.reader() as session:
        return _read(session, cache)[1]


def _read(session: Session, cache: BottleneckCache) -> tuple[list[str], TrainingData]:
    """Ids of the labelled images, and their data in the same order."""
    labels = training_labels(session)
    if not labels:
        raise TrainingError("no labels to train on yet; label some queries first")
    images = session.execute(select(Image.id, Image.sha256, Image.split).order_by(Image.id)).all()
    hashes = {image.id: image.sha256 for image in images}
    rows = cache.rows([hashes[image_id] for image_id in labels])
    pool = cache.rows([image.sha256 for image in images if image.split == "pool"])
    return list(labels), TrainingData(rows, list(labels.values()), pool)


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned backbone, whose bottlenecks of the pool are cached.

    Attributes:
        backbone: loaded from a file in the project.
        metrics: JSON-able, for the model's row.
        promoted: whether its model answers from now on.
    """

    backbone: Backbone
    metrics: Mapping[str, Any]
    promoted: bool


def train_model(
    project: Project, *, round_number: int | None = None, tuned: Tuned | None = None
) -> str:
    """Fit the head on every label so far, measure it on the audit set, register and promote it.

    The bundle is on the disk before its row is; the row, its accuracy and its promotion are one
    transaction, so a crash leaves either a whole model or none.

    Args:
        project: whose labels.
        round_number: the round that ends with it.
        tuned: read these bottlenecks instead of those of the backbone that answers now.

    Returns:
        The model's id.

    Raises:
        TrainingError: no labels yet.
        CacheError: a labelled image has no bottleneck; embed first.
    """
    backbone = tuned.backbone if tuned is not None else project_backbone(project)
    cache = open_cache(project, backbone)
    with project.database.reader() as session:
        labelled, data = _read(session, cache)
        model_id = registry.next_id(session)
    settings = project.settings.head
    if settings.views:
        data = replace(data, views=view_rows(project, backbone, labelled))
    fit = learn(data, project.taxonomy, settings, seed=project.settings.seed)
    folds = FoldHeads(fit.folds.heads, dict(zip(labelled, fit.folds.of_row.tolist(), strict=False)))
    facts = {
        "id": model_id,
        "round": round_number,
        "labels": len(labelled),
        "head": settings.name,
        "head_args": settings.args,
        "balancer": settings.balancer,
        "task_weights": fit.weights,
        "fingerprint": cache.fingerprint,
        "backbone": project.settings.backbone.model_dump(mode="json"),
        "out_of_fold": fit.out_of_fold,
        "thresholds": _thresholds(fit, data, project),
    }
    registry.save_bundle(project.models / model_id, fit.head, facts, folds)
    found = _measure(project, fit.head, cache)
    with project.database.session() as session:
        session.add(
            ModelRow(
                id=model_id,
                round_number=round_number,
                head=settings.name,
                fingerprint=cache.fingerprint,
                labels=len(labelled),
                metrics={
                    "out_of_fold": fit.out_of_fold,
                    "fit_s": round(fit.seconds, 3),
                    **said_of(project, backbone.settings),
                    **(tuned.metrics if tuned is not None else {}),
                },
            )
        )
        session.flush()
        found.save(session, model_id)
        if tuned is None or tuned.promoted:
            promote(session, model_id, reason="trained" if tuned is None else "fine-tuned")
    return model_id


def _thresholds(fit: Fit, data: TrainingData, project: Project) -> dict[str, float | None]:
    """Finest shown level → how sure a class must be to be shown, see `showing.threshold_for`.

    None where the labels are too few to promise anything.
    """
    levels, target = project.taxonomy.levels, project.settings.showing.target
    labelled = np.array([LABEL in values for values in data.labels])
    if not fit.folds.heads or not labelled.any():
        return dict.fromkeys(levels)
    probs = fold_probs(fit.folds.heads, fit.folds.of_row, data.rows[:])
    probs = {level: probs[level][labelled] for level in levels}
    labels = [values[LABEL] for values in data.labels if LABEL in values]
    return {
        level: threshold_for(probs, labels, project.taxonomy, levels[: depth + 1], target=target)
        for depth, level in enumerate(levels)
    }


@dataclass(frozen=True)
class _Measured:
    """Over the labelled audit images: task → (correct, n), quantity → (n,) absolute errors.

    `at` is before the labels were read: what comes later has not been counted.
    """

    counts: dict[str, tuple[int, int]]
    errors: dict[str, NDArray[np.float64]]
    at: datetime

    def save(self, session: Session, model_id: str) -> None:
        save_counts(session, model_id, self.counts, at=self.at)
        save_errors(session, model_id, self.errors)


def _measure(project: Project, head: Head, cache: BottleneckCache) -> _Measured:
    at = utc_now()
    with project.database.reader() as session:
        audit = audit_labels(session)
        of_audit = select(Image.id, Image.sha256).where(Image.split == "audit")
        hashes = dict(session.execute(of_audit).all())
    rows = cache.rows([hashes[image_id] for image_id in audit])
    labels = list(audit.values())
    return _Measured(count_correct(head, rows, labels), absolute_errors(head, rows, labels), at)


def measure_current(project: Project) -> str | None:
    """Measure the promoted model again, with the audit labels there are now; its id."""
    current = registry.load_current(project)
    if current is None:
        return None
    model_id, bundle = current
    cache = open_cache(project, project_backbone(project))
    if not registry.fits(bundle, project, cache.fingerprint):
        return model_id  # measured by the backbone and classes it belongs to; that number stands
    found = _measure(project, bundle.head, cache)
    with project.database.session() as session:
        found.save(session, model_id)
    return model_id
