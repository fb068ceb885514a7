"""Augmented views: the same dice give the same view, and what is cached is not computed again."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
import torch

from atlas import views
from atlas.embedding import open_cache, project_backbone
from atlas.images import open_image
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import Image
from atlas.views import Recipe, Views, cache_views, open_view, recipe_of, unlabelled_sample

HASH = "ab" * 32


def images(project: Project, split: str = "pool") -> list[Image]:
    with project.database.reader() as session:
        found = select(Image).where(Image.split == split).order_by(Image.id)
        return list(session.scalars(found))


RECIPE = Recipe(seed=0, operations=2, magnitude=9, shift=0.125, flip=True, version=1)


def noise(side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def view_of(recipe: Recipe, view: int, sha256: str = HASH) -> np.ndarray:
    return recipe.augment(noise(), recipe.dice(sha256, view))


def test_the_same_dice_give_the_same_view() -> None:
    """In any order, on any thread, whatever torch's own dice have been through."""
    first = [view_of(RECIPE, view) for view in range(40)]
    assert all(one.shape == (32, 32, 3) and one.dtype == np.uint8 for one in first)

    def again(view: int) -> np.ndarray:
        torch.rand(view + 1)
        return view_of(RECIPE, view)

    with ThreadPoolExecutor(4) as threads:
        second = list(threads.map(again, reversed(range(40))))
    for one, other in zip(first, reversed(second), strict=True):
        assert np.array_equal(one, other)


def test_views_seeds_and_images_differ() -> None:
    found = [view_of(RECIPE, 0), view_of(RECIPE, 1), view_of(RECIPE, 0, "cd" * 32)]
    found.append(view_of(replace(RECIPE, seed=1), 0))
    assert len({one.tobytes() for one in found}) == 4


def test_a_second_call_computes_nothing(project: Project) -> None:
    ids = [image.id for image in images(project)]
    seen: list[tuple[int, int]] = []
    first = cache_views(
        project,
        project_backbone(project),
        ids[:10],
        count=3,
        progress=lambda *both: seen.append(both),
    )
    assert (first.computed, first.left_out, seen[-1]) == (30, {}, (30, 30))
    assert cache_views(project, project_backbone(project), ids[:10], count=3).computed == 0
    assert cache_views(project, project_backbone(project), ids[:10], count=2).computed == 0
    assert cache_views(project, project_backbone(project), ids[:12], count=3).computed == 6
    assert cache_views(project, project_backbone(project), ids[:12], count=4).computed == 12


def test_what_is_cached_is_the_view_of_that_image(project: Project) -> None:
    backbone = project_backbone(project)
    some = images(project)[:6]
    hashes = [image.sha256 for image in some]
    found = cache_views(project, project_backbone(project), [image.id for image in some], count=2)
    recipe = recipe_of(project.settings)
    clean = open_cache(project, backbone).rows(hashes)
    rows = found.read(hashes, clean)
    assert (rows.shape, rows.dtype) == ((2, 6, backbone.features), np.float16)
    for view in range(2):
        for i, image in enumerate(some):
            pixels = backbone.prepare(open_image(image.location))
            pixels = recipe.augment(pixels, recipe.dice(image.sha256, view))
            wanted = backbone.embed(np.stack([pixels]))[0]
            np.testing.assert_allclose(rows[view, i], wanted, atol=5e-3)
    assert not np.allclose(rows[0], rows[1], atol=1e-2)
    assert not np.allclose(rows[0], clean[:], atol=1e-2)


def test_another_augmentation_or_seed_or_backbone_is_another_view(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [image.id for image in images(project)[:5]]

    def again() -> Views:
        changed = Project(project.directory)
        return cache_views(changed, project_backbone(changed), ids, count=1)

    again()
    monkeypatch.setattr(views, "VERSION", views.VERSION + 1)
    assert cache_views(project, project_backbone(project), ids, count=1).computed == 5
    assert cache_views(project, project_backbone(project), ids, count=1).computed == 0
    change_setting(project.directory, "finetune", "flip", False)
    assert again().computed == 5
    change_setting(project.directory, "backbone", "cut", "layer2")
    assert again().computed == 5
    monkeypatch.setenv("ATLAS_SEED", "1")
    assert again().computed == 5


def test_clean_bottlenecks_are_not_touched(project: Project) -> None:
    backbone = project_backbone(project)
    hashes = [image.sha256 for image in images(project)]
    before = open_cache(project, backbone).read(hashes)
    cache_views(
        project, project_backbone(project), [image.id for image in images(project)], count=1
    )
    cache = open_cache(project, backbone)
    assert np.array_equal(cache.read(hashes), before)
    assert len(cache) == 40
    assert open_view(project, backbone, 0).folder.parent == cache.folder.parent


def test_an_image_that_is_gone_has_its_clean_bottleneck(project: Project, tmp_path: Path) -> None:
    some = images(project)[:4]
    with project.database.session() as session:
        session.get_one(Image, some[2].id).location = str(tmp_path / "gone.png")
    found = cache_views(project, project_backbone(project), [image.id for image in some], count=2)
    assert (found.computed, set(found.left_out)) == (6, {some[2].id})
    hashes = [image.sha256 for image in some]
    clean = open_cache(project, project_backbone(project)).read(hashes)
    rows = found.read(hashes, clean)
    assert [bool((rows[:, i] == clean[i]).all()) for i in range(4)] == [False, False, True, False]


def test_the_sample_is_of_the_pool_and_stays_as_the_pool_grows(project: Project) -> None:
    pool = {image.id for image in images(project)}
    some = unlabelled_sample(project, 10)
    assert len(set(some)) == 10
    assert set(some) < pool
    assert some == sorted(some) == unlabelled_sample(project, 10)
    assert set(some) < set(unlabelled_sample(project, 20))
    assert set(unlabelled_sample(project, 1000)) == pool
    with project.database.session() as session:
        gone = images(project)[0].id
        session.get_one(Image, gone).split = "-pool"
    later = set(unlabelled_sample(project, 10))
    assert len(later & set(some)) >= 9
