"""Labels and cached bottlenecks in, a measured and registered model out."""

import numpy as np
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
from atlas.store.tables import Image, ModelRow
from atlas.training.fit_heads import fit_head, moments

MOMENTS_SAMPLE = 5000


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
        pool = list(session.scalars(select(Image.sha256).where(Image.split == "pool")))
        model_id = registry.next_id(session)
    if not labels:
        raise TrainingError("no labels to train on yet; label some queries first")
    rng = np.random.default_rng([project.settings.seed, len(labels)])
    settings = project.settings.head
    fit = fit_head(
        cache.read([hashes[image_id] for image_id in labels]),
        list(labels.values()),
        taxonomy=project.taxonomy,
        settings=settings,
        pool_moments=moments(cache.read(_some(pool, rng))),
        rng=rng,
    )
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
    registry.save_bundle(project.models / model_id, fit.head, facts)
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


def _some(hashes: list[str], rng: np.random.Generator) -> list[str]:
    if len(hashes) <= MOMENTS_SAMPLE:
        return hashes
    return [hashes[i] for i in np.sort(rng.choice(len(hashes), MOMENTS_SAMPLE, replace=False))]
