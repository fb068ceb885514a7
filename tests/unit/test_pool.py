"""Ingest: counts, bad images and truth."""

from collections.abc import Callable
import json
import os
from pathlib import Path
import shutil
import zipfile

from PIL import Image as PilImage
import pytest
from sqlalchemy import func, select

from atlas.errors import PoolError
from atlas.pool import IngestReport, ingest
from atlas.project import Project
from atlas.settings import Settings
from atlas.store.tables import Image, LeftOut, Meta
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

Draw = Callable[..., Path]


def images(project: Project) -> dict[str, Image]:
    with project.database.reader() as session:
        return {row.id: row for row in session.scalars(select(Image))}


def left_out(project: Project) -> dict[str, str]:
    with project.database.reader() as session:
        return {row.location: row.reason for row in session.scalars(select(LeftOut))}


def is_empty(project: Project) -> bool:
    with project.database.reader() as session:
        counts = [session.scalar(select(func.count()).select_from(t)) for t in (Image, Meta)]
    return counts == [0, 0] and not left_out(project)


def test_a_second_ingest_of_the_same_adds_nothing(empty_project: Project, tiny_pool: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = ingest(
        empty_project, tiny_pool, truth="folders", progress=lambda *both: seen.append(both)
    )
    assert first == IngestReport(found=40, added=40, duplicates=0, audit=8)
    assert seen[-1] == (40, 40)
    before = {key: row.split for key, row in images(empty_project).items()}
    second = ingest(empty_project, tiny_pool, truth="folders")
    assert second == IngestReport(found=40, added=0, duplicates=40, audit=0)
    assert {key: row.split for key, row in images(empty_project).items()} == before


def test_rows_say_what_the_image_is(empty_project: Project, tiny_pool: Path) -> None:
    ingest(empty_project, tiny_pool, truth="folders")
    path = next(tiny_pool.rglob("*.png"))
    row = next(row for row in images(empty_project).values() if row.location == str(path))
    assert (row.width, row.height) == (32, 32)
    assert row.truth == {LABEL: path.parent.relative_to(tiny_pool).as_posix()}
    assert row.id == f"img_{row.sha256[:16]}"


def test_copies_under_other_names_are_one_image(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    shutil.copy(pool / "round/ball/0-000.png", pool / "round/ball/copy.png")
    report = ingest(empty_project, pool)
    assert (report.found, report.added, report.duplicates) == (41, 40, 1)


def test_unreadable_images_are_left_out_and_the_rest_goes_on(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    whole = (pool / "round/ball/0-000.png").read_bytes()
    (pool / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pool / "empty.jpg").write_bytes(b"")
    (pool / "text.gif").write_text("no image")
    report = ingest(empty_project, pool, truth="folders")
    assert (report.found, report.added) == (43, 40)
    assert {Path(one).name for one in report.left_out} == {"cut.png", "empty.jpg", "text.gif"}
    assert left_out(empty_project) == report.left_out
    assert all("cannot decode" in reason for reason in report.left_out.values())


def test_a_file_name_that_is_no_text_is_left_out(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    """Linux takes any bytes for a name; a database and a browser want text."""
    pool = draw_pool(tmp_path / "pool")
    shutil.copy(pool / "round/ball/0-000.png", os.fsencode(pool) + b"/round/ball/caf\xe9.png")
    report = ingest(empty_project, pool, truth="folders")
    assert (report.found, report.added) == (41, 40)
    ((location, reason),) = report.left_out.items()
    assert location.endswith("caf\\udce9.png")
    assert "its name is not UTF-8; rename it" in reason
    assert left_out(empty_project) == report.left_out


def test_a_mended_image_is_no_longer_listed_as_left_out(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    (pool / "late.png").write_bytes(b"half")
    ingest(empty_project, pool)
    assert len(left_out(empty_project)) == 1
    PilImage.new("RGB", (4, 4)).save(pool / "late.png")
    assert ingest(empty_project, pool).added == 1
    assert left_out(empty_project) == {}


def test_when_none_can_be_read_nothing_is_added(empty_project: Project, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/a.png").write_bytes(b"x")
    with pytest.raises(PoolError, match="none of the 1 images of .* the first: cannot decode"):
        ingest(empty_project, tmp_path / "pool")
    assert is_empty(empty_project)


def test_a_folder_without_images(empty_project: Project, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    with pytest.raises(PoolError, match="no image in"):
        ingest(empty_project, tmp_path / "pool")
    assert is_empty(empty_project)


def test_truth_outside_the_taxonomy_adds_nothing(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    (pool / "round/egg").mkdir()
    PilImage.new("RGB", (4, 4)).save(pool / "round/egg/1.png")
    with pytest.raises(PoolError, match="truth of round/egg/1.png: label 'round/egg' is not in"):
        ingest(empty_project, pool, truth="folders")
    assert is_empty(empty_project)
    assert ingest(empty_project, pool).added == 41  # the folders are no truth: nothing is wrong


def test_truth_may_stop_half_way_and_may_be_missing(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    PilImage.new("RGB", (4, 4), "red").save(pool / "round/some.png")
    PilImage.new("RGB", (4, 4), "blue").save(pool / "loose.png")
    ingest(empty_project, pool, truth="folders")
    truths = {Path(row.location).name: row.truth for row in images(empty_project).values()}
    assert (truths["some.png"], truths["loose.png"]) == ({LABEL: "round"}, {})


def test_a_zip_gives_the_same_images_as_its_folder(
    empty_project: Project, tmp_path: Path, tiny_pool: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "pool.zip", "w") as archive:
        for path in tiny_pool.rglob("*.png"):
            archive.write(path, Path("in") / path.relative_to(tiny_pool))
    report = ingest(empty_project, tmp_path / "pool.zip" / "in", truth="folders")
    assert (report.added, report.audit) == (40, 8)
    assert {row.truth[LABEL] for row in images(empty_project).values()} == {
        "round/ball",
        "round/ring",
        "angular/box",
        "angular/cross",
    }
    assert ingest(empty_project, tiny_pool).added == 0


def test_manifest_columns_are_details_and_truth(
    tmp_path: Path, tiny_pool: Path, settings: Settings
) -> None:
    taxonomy = Taxonomy(("family", "shape"), ("r/a", "r/b", "s"), {"colour": ("red", "blue")})
    project = Project.create(tmp_path / "p", settings, taxonomy)
    paths = sorted(tiny_pool.rglob("*.png"))
    rows = [
        {"path": str(path), "label": "r/a", "colour": "red" if i % 2 else None, "site": i}
        for i, path in enumerate(paths)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ingest(project, tmp_path / "m.jsonl", truth="manifest")
    by_site = {row.details["site"]: row.truth for row in images(project).values()}
    assert by_site[0] == {LABEL: "r/a"}
    assert by_site[1] == {LABEL: "r/a", "colour": "red"}


@pytest.fixture
def measured(tmp_path: Path, settings: Settings) -> Project:
    """A project whose images may have a size."""
    taxonomy = Taxonomy(("shape",), ("a", "b"), {}, ("size",))
    return Project.create(tmp_path / "p", settings, taxonomy)


def test_a_quantity_of_a_manifest_is_a_number_or_text(
    measured: Project, tmp_path: Path, tiny_pool: Path
) -> None:
    values = [12.5, "12.5", 12, 0, -1e-7, None, "", " 3 "]
    told = ["12.5", "12.5", "12", "0", "-1e-07", None, None, " 3 "]
    paths = sorted(tiny_pool.rglob("*.png"))[:32]
    rows = [{"path": str(path), "size": values[i % 8], "i": i} for i, path in enumerate(paths)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ingest(measured, tmp_path / "m.jsonl", truth="manifest")
    for row in images(measured).values():
        wanted = told[row.details["i"] % 8]
        assert row.truth == ({} if wanted is None else {"size": wanted})


def test_a_quantity_of_a_csv_manifest(measured: Project, tmp_path: Path, tiny_pool: Path) -> None:
    lines = [f"{path},a,{i / 4}" for i, path in enumerate(sorted(tiny_pool.rglob("*.png")))]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,size", *lines]))
    ingest(measured, tmp_path / "m.csv", truth="manifest")
    sizes = sorted(float(row.truth["size"]) for row in images(measured).values())
    assert sizes == [i / 4 for i in range(40)]


@pytest.mark.parametrize("value", ["big", "12,5", "1 cm", True, [1], float("nan"), "inf"])
def test_a_quantity_that_is_no_number_adds_nothing(
    measured: Project, tmp_path: Path, tiny_pool: Path, value: object
) -> None:
    rows = [{"path": str(path), "size": value} for path in tiny_pool.rglob("*.png")]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(PoolError, match=r"truth of .*: size .* is not a number; write it like"):
        ingest(measured, tmp_path / "m.jsonl", truth="manifest")
    assert is_empty(measured)


def test_a_manifest_is_no_truth_unless_told(
    empty_project: Project, tmp_path: Path, tiny_pool: Path
) -> None:
    lines = [f"{path},nonsense" for path in sorted(tiny_pool.rglob("*.png"))]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *lines]))
    with pytest.raises(PoolError, match="label 'nonsense' is not in the taxonomy"):
        ingest(empty_project, tmp_path / "m.csv", truth="manifest")
    ingest(empty_project, tmp_path / "m.csv")
    assert all(
        (row.truth, row.details) == ({}, {"label": "nonsense"})
        for row in images(empty_project).values()
    )


def test_images_inside_the_project_are_stored_relative(
    empty_project: Project, draw_pool: Draw
) -> None:
    draw_pool(empty_project.directory / "pool")
    ingest(empty_project, empty_project.directory / "pool")
    locations = {row.location for row in images(empty_project).values()}
    assert "pool/round/ball/0-000.png" in locations
    assert Path(empty_project.absolute("pool/round/ball/0-000.png")).is_file()
