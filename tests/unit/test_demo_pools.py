"""The drawn pools: the same seed gives the same bytes, and the folder agrees with its taxonomy."""

from collections import Counter
import json
from pathlib import Path

import numpy as np
from PIL import Image
import pytest

from atlas.demo.garments import extent
from atlas.demo.pools import POOLS, draw_pool, pool_taxonomy
from atlas.errors import PoolError
from atlas.taxonomy_file import load_taxonomy

IMAGES = {"garments": 39, "water": 40}


def manifest(pool: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (pool / "manifest.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module", params=POOLS)
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return draw_pool(name, tmp_path_factory.mktemp("drawn") / name, images=IMAGES[name], seed=5)


def test_same_seed_gives_same_bytes_and_another_seed_others(pool: Path, tmp_path: Path) -> None:
    name = pool.name
    again = draw_pool(name, tmp_path / "again", images=IMAGES[name], seed=5)
    other = draw_pool(name, tmp_path / "other", images=IMAGES[name], seed=6)
    assert contents(again) == contents(pool)
    assert contents(other) != contents(pool)


def test_folders_are_the_leaves_of_the_taxonomy(pool: Path) -> None:
    taxonomy = load_taxonomy(pool / "taxonomy.yaml")
    folders = {path.parent.relative_to(pool / "images").as_posix() for path in pool.rglob("*.png")}
    assert folders == set(taxonomy.leaves)


def test_manifest_names_every_picture_once_with_the_label_of_its_folder(pool: Path) -> None:
    taxonomy = load_taxonomy(pool / "taxonomy.yaml")
    lines = manifest(pool)
    assert len(lines) == IMAGES[pool.name]
    assert {line["path"] for line in lines} == {
        path.relative_to(pool).as_posix() for path in pool.rglob("*.png")
    }
    assert taxonomy == pool_taxonomy(pool.name, 5)
    for line in lines:
        assert set(line) == {"path", "label", *taxonomy.attributes, *taxonomy.quantities}
        taxonomy.check({key: value for key, value in line.items() if key != "path"})
        assert Path(line["path"]).parent == Path("images") / line["label"]
        for attribute, values in taxonomy.attributes.items():
            assert line[attribute] in values


def test_pictures_are_rgb_64_and_all_different(pool: Path) -> None:
    seen = set()
    for path in pool.rglob("*.png"):
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((64, 64), "RGB")
            pixels = np.asarray(picture)
        assert pixels.std() > 5, f"{path} is all but empty"
        seen.add(pixels.tobytes())
    assert len(seen) == IMAGES[pool.name]


def test_extent_by_hand() -> None:
    """12 of 64 columns, the outer two half covered: 11 of 64 across, and 20 of 64 down."""
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[30:50, 11:21] = 255
    mask[30:50, [10, 21]] = 127
    assert extent(mask) == pytest.approx(100 * 20 / 64)
    assert extent(mask[30:50, :20]) == pytest.approx(100)
    assert extent(mask * 0) == 0
    wide = mask.copy()
    wide[40, :] = 255
    assert extent(wide) == 100


def test_sizes_of_garments_spread_and_say_little_of_the_class(tmp_path: Path) -> None:
    lines = manifest(draw_pool("garments", tmp_path / "p", images=117, seed=1))
    sizes = np.array([float(line["size"]) for line in lines])
    assert 20 < sizes.min() and sizes.max() <= 100
    assert len(set(sizes)) > 80  # to a tenth of a percent
    categories = np.array([line["label"].partition("/")[0] for line in lines])
    within = np.concatenate(
        [sizes[categories == c] - sizes[categories == c].mean() for c in set(categories)]
    )
    assert within.var() > 0.7 * sizes.var()


def test_garments_are_balanced(tmp_path: Path) -> None:
    # 41 images over 13 leaves: 3 each is 39, the first two leaves get one more.
    pool = draw_pool("garments", tmp_path / "p", images=41, seed=0)
    counts = Counter(line["label"] for line in manifest(pool))
    assert sorted(counts.values()) == [3] * 11 + [4] * 2


def test_every_valve_is_heard_and_toilets_more_than_showers(tmp_path: Path) -> None:
    pool = draw_pool("water", tmp_path / "p", images=200, seed=0)
    counts = Counter(line["label"] for line in manifest(pool))
    assert set(counts) == set(load_taxonomy(pool / "taxonomy.yaml").leaves)
    assert sum(counts.values()) == 200
    # Uses are at least 0.6 × 4 = 2.4 for a toilet and at most 1.4 × 1.5 = 2.1 for a shower.
    toilets = [n for label, n in counts.items() if label.startswith("toilet/")]
    showers = [n for label, n in counts.items() if label.startswith("shower/")]
    assert min(toilets) >= max(showers)


def test_an_interrupted_drawing_goes_on_where_it_stopped(pool: Path, tmp_path: Path) -> None:
    name = pool.name

    def stop_at_ten(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    target = tmp_path / "p"
    with pytest.raises(KeyboardInterrupt):
        draw_pool(name, target, images=IMAGES[name], seed=5, progress=stop_at_ten)
    assert not target.exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "p.partial").rglob("*.png")}
    assert len(kept) == 10
    draw_pool(name, target, images=IMAGES[name], seed=5)
    assert contents(target) == contents(pool)
    for path, written_ns in kept.items():
        finished = target / path.relative_to(tmp_path / "p.partial")
        assert finished.stat().st_mtime_ns == written_ns


def test_a_partial_folder_of_another_pool_is_not_mixed_in(pool: Path, tmp_path: Path) -> None:
    name = pool.name
    stale = tmp_path / "p.partial" / "images" / "stale.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"not of this pool")
    assert contents(draw_pool(name, tmp_path / "p", images=IMAGES[name], seed=5)) == contents(pool)


def test_a_finished_pool_is_left_alone_and_another_one_refused(pool: Path) -> None:
    before = contents(pool)
    assert draw_pool(pool.name, pool, images=IMAGES[pool.name], seed=5) == pool
    with pytest.raises(PoolError, match="name another folder"):
        draw_pool(pool.name, pool, images=IMAGES[pool.name], seed=6)
    assert contents(pool) == before


def test_unknown_names_and_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="garments, water"):
        draw_pool("cats", tmp_path / "p", images=50, seed=0)
    with pytest.raises(PoolError, match="12 images, the garments pool has 13 leaves"):
        draw_pool("garments", tmp_path / "p", images=12, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_up_to_the_number_of_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    draw_pool(
        "garments", tmp_path / "p", images=13, seed=0, progress=lambda *step: seen.append(step)
    )
    assert seen == [(done, 13) for done in range(1, 14)]
