"""Labels and cached bottlenecks in, a measured and registered model out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from atlas import registry
from atlas.accuracy import save_counts
from atlas.bottleneck import BottleneckCache
from atlas.embedding import open_cache, project_backbone
from atlas.errors import TrainingError
from atlas.evaluation import count_correct
from atlas.heads import Head
from atlas.labels import LabelsByImage, audit_labels, training_labels
from atlas.project import Project
from atlas.promotion import promote
from atlas.registry import FoldHeads
from atlas.settings import HeadSettings
from atlas.store.tables import Image, ModelRow
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import Fit, fit_head, moments
from atlas.types import Rows

MOMENTS_SAMPLE = 5000


@dataclass(frozen=True)
class TrainingData:
    """Labelled bottlenecks, and the pool they are standardised by; images in order of their id."""

    rows: Rows
    labels: Sequence[Mapping[str, str]]
    pool: Rows


def learn(data: TrainingData, taxonomy: Taxonomy, settings: HeadSettings, *, seed: int) -> Fit:
    """Fit the head of `settings`; the same seed and number of labels give the same folds.

    Raises:
        TrainingError: no labels.
    """
    rng = np.random.default_rng([seed, len(data.labels)])
    size = len(data.pool)
    sample: NDArray[np.intp] = np.arange(size)
    if size > MOMENTS_SAMPLE:
        sample = np.sort(rng.choice(size, MOMENTS_SAMPLE, replace=False))
    return fit_head(
        data.rows[:],
        data.labels,
        taxonomy=taxonomy,
        settings=settings,
        pool_moments=moments(data.pool[sample]),
        rng=rng,
    )


def train_model(project: Project, *, round_number: int | None = None) -> str:
    """Fit the head on every label so far, measure it on the audit set, register and promote it.

    The bundle is on the disk before its row is; the row, its accuracy and its promotion are one
    transaction, so a crash leaves either a whole model or none.

    Returns:
        The model's id.

    Raises:
        TrainingError: no labels yet.
        CacheError: a labelled image has no bottleneck; embed first.
    """
    cache = open_cache(project, project_backbone(project))
    with project.database.reader() as session:
        labels = training_labels(session)
        audit = audit_labels(session)
        hashes = dict(session.execute(select(Image.id, Image.sha256)).all())
        in_pool = select(Image.sha256).where(Image.split == "pool").order_by(Image.id)
        pool = list(session.scalars(in_pool))
        model_id = registry.next_id(session)
    if not labels:
        raise TrainingError("no labels to train on yet; label some queries first")
    settings = project.settings.head
    data = TrainingData(
        cache.rows([hashes[image_id] for image_id in labels]),
        list(labels.values()),
        cache.rows(pool),
    )
    fit = learn(data, project.taxonomy, settings, seed=project.settings.seed)
    folds = FoldHeads(fit.folds.heads, dict(zip(labels, fit.folds.of_row.tolist(), strict=False)))
    facts = {
        "id": model_id,
        "round": round_number,
        "labels": len(labels),
        "head": settings.name,
        "head_args": settings.args,
        "fingerprint": cache.fingerprint,
        "backbone": project.settings.backbone.model_dump(mode="json"),
        "out_of_fold": fit.out_of_fold,
    }
    registry.save_bundle(project.models / model_id, fit.head, facts, folds)
    counts = measure(fit.head, cache, audit, hashes)
    with project.database.session() as session:
        session.add(
            ModelRow(
                id=model_id,
                round_number=round_number,
                head=settings.name,
                fingerprint=cache.fingerprint,
                labels=len(labels),
                metrics={"out_of_fold": fit.out_of_fold, "fit_s": round(fit.seconds, 3)},
            )
        )
        session.flush()
        save_counts(session, model_id, counts)
        promote(session, model_id, reason="trained")
    return model_id


def measure(
    head: Head, cache: BottleneckCache, audit: LabelsByImage, hashes: dict[str, str]
) -> dict[str, tuple[int, int]]:
    """Task → (correct, n) over the labelled audit images."""
    rows = cache.rows([hashes[image_id] for image_id in audit])
    return count_correct(head, rows, list(audit.values()))


def measure_current(project: Project) -> str | None:
    """Measure the promoted model again, with the audit labels there are now; its id."""
    current = registry.load_current(project)
    if current is None:
        return None
    model_id, bundle = current
    cache = open_cache(project, project_backbone(project))
    if not registry.fits(bundle, project, cache.fingerprint):
        return model_id  # measured by the backbone and classes it belongs to; that number stands
    with project.database.reader() as session:
        audit = audit_labels(session)
        hashes = dict(session.execute(select(Image.id, Image.sha256)).all())
    counts = measure(bundle.head, cache, audit, hashes)
    with project.database.session() as session:
        save_counts(session, model_id, counts)
    return model_id
