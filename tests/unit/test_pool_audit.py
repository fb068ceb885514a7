"""How the audit set is drawn."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare
from sqlalchemy import func, select

from atlas.errors import PoolError
from atlas.labels import audit_labels, record, training_labels
from atlas.pool import audit_key, count, ingest
from atlas.project import Project
from atlas.settings import Settings
from atlas.store.tables import Image, LeftOut, Meta, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, Annotation, utc_now

Draw = Callable[..., Path]


def images(project: Project) -> dict[str, Image]:
    with project.database.reader() as session:
        return {row.id: row for row in session.scalars(select(Image))}


def is_empty(project: Project) -> bool:
    with project.database.reader() as session:
        counts = [session.scalar(select(func.count()).select_from(t)) for t in (Image, Meta)]
    return counts == [0, 0] and not left_out(project)


def left_out(project: Project) -> dict[str, str]:
    with project.database.reader() as session:
        return {row.location: row.reason for row in session.scalars(select(LeftOut))}


def test_the_audit_set_must_leave_images_to_learn_from(
    tmp_path: Path, tiny_pool: Path, taxonomy: Taxonomy
) -> None:
    settings = Settings.model_validate({"audit": {"size": 40}})
    project = Project.create(tmp_path / "p", settings, taxonomy)
    with pytest.raises(PoolError, match=r"audit.size is 40, the pool has only 40 images"):
        ingest(project, tiny_pool)
    assert is_empty(project)


def test_no_audit_set_stays_none_when_more_arrives(
    tmp_path: Path, draw_pool: Draw, taxonomy: Taxonomy
) -> None:
    settings = Settings.model_validate({"audit": {"size": 0}})
    project = Project.create(tmp_path / "p", settings, taxonomy)
    ingest(project, draw_pool(tmp_path / "a", per_leaf=1, seed=1))
    ingest(project, draw_pool(tmp_path / "b", per_leaf=50, seed=2))
    with project.database.reader() as session:
        assert (count(session, "pool"), count(session, "audit")) == (204, 0)


def test_later_images_join_the_audit_set_by_the_same_share(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    """8 of the first 40 is one in five; of 400 later ones that is 80 ± 4 standard deviations.

    The threshold is itself an estimate from 40 images (deviation √(.2·.8/41) = 0.062), so the
    deviation of the count is √(400·.2·.8 + (400·.062)²) = 26.
    """
    assert ingest(empty_project, draw_pool(tmp_path / "a", seed=1)).audit == 8
    threshold = float(_meta(empty_project, "audit_threshold"))
    later = ingest(empty_project, draw_pool(tmp_path / "b", per_leaf=100, seed=2))
    assert later.added == 400
    assert abs(later.audit - 80) < 4 * 26
    assert abs(later.audit - 400 * threshold) < 4 * np.sqrt(400 * threshold * (1 - threshold))


def test_the_audit_draw_is_uniform() -> None:
    """Over 500 seeds each of 40 images is among the 8 lowest keys 100 times, give or take."""
    hashes = [f"{number:064x}" for number in range(40)]
    drawn = np.zeros(40)
    for seed in range(500):
        project = _Seeded(seed)
        keys = np.array([audit_key(sha256, project) for sha256 in hashes])
        assert ((keys >= 0) & (keys < 1)).all()
        drawn[np.argsort(keys)[:8]] += 1
    assert drawn.sum() == 4000
    # Draws without replacement vary less than a chi-square expects, never more.
    assert chisquare(drawn).pvalue > 1e-4


def test_the_audit_draw_hangs_on_the_seed_alone(
    tmp_path: Path, tiny_pool: Path, taxonomy: Taxonomy
) -> None:
    def drawn(name: str, seed: int) -> set[str]:
        settings = Settings.model_validate({"seed": seed, "audit": {"size": 8}})
        project = Project.create(tmp_path / name, settings, taxonomy)
        ingest(project, tiny_pool)
        return {row.id for row in images(project).values() if row.split == "audit"}

    assert drawn("a", 1) == drawn("b", 1) != drawn("c", 2)


def test_audit_labels_are_never_training_labels(project: Project) -> None:
    """Every image of the project is labelled: 32 may be learned from, 8 only measured on."""
    rows = images(project)
    with project.database.session() as session:
        session.add(Round(number=1, state="open", sampler="random", steps=[]))
        session.flush()
        session.add_all(_query(image_id) for image_id in rows)
        session.flush()
        answers = [
            Annotation(f"a-{key}", f"q-{key}", "submitted", utc_now(), {LABEL: "round/ball"})
            for key in rows
        ]
        assert record(session, answers, received_by="poll", taxonomy=project.taxonomy) == 40
        learned, measured = training_labels(session), audit_labels(session)
    assert len(learned) == 32
    assert set(measured) == {key for key, row in rows.items() if row.split == "audit"}
    assert not set(learned) & set(measured)


class _Seeded:
    """What `audit_key` looks at: a seed."""

    def __init__(self, seed: int) -> None:
        self.settings = Settings(seed=seed)


def _query(image_id: str) -> QueryRow:
    return QueryRow(
        uid=f"q-{image_id}",
        round_number=1,
        image_id=image_id,
        kind="query",
        state="pushed",
        priority=0,
        score=0.0,
        reason="",
        guess={},
        confidence={},
    )


def _meta(project: Project, key: str) -> str:
    with project.database.reader() as session:
        return session.get_one(Meta, key).value
