"""Filling the cache of a whole project: twice, after changes, after a kill, on a full disk."""

from collections.abc import Callable
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

import numpy as np
from PIL import Image as PilImage
import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import select

from atlas.embedding import embed_pool, open_cache, project_backbone
from atlas.errors import DiskFull
from atlas.images import open_image
from atlas.labels import record
from atlas.pool import count, ingest
from atlas.project import Project
from atlas.rounds import close_round, open_round
from atlas.settings_file import change_setting
from atlas.store.tables import Image, LeftOut, QueryRow
from atlas.types import LABEL, Annotation, utc_now

Draw = Callable[..., Path]
CORES = os.cpu_count() or 1


def hashes(project: Project) -> list[str]:
    with project.database.reader() as session:
        return list(session.scalars(select(Image.sha256).order_by(Image.id)))


def missing(project: Project) -> int:
    cache = open_cache(project, project_backbone(project))
    return len(cache.missing(hashes(project)))


def with_pool(project: Project, draw_pool: Draw) -> Path:
    """A pool of the project's own, that the test may damage."""
    pool = draw_pool(project.directory / "pool")
    ingest(project, pool, truth="folders")
    return pool


def change_weights(project: Project, tmp_path: Path) -> Project:
    weights = load_file(project.settings.backbone.checkpoint)
    name = next(name for name in weights if name.endswith("weight"))
    weights[name] *= 1.5
    save_file(weights, tmp_path / "changed.safetensors")
    change_setting(
        project.directory, "backbone", "checkpoint", str(tmp_path / "changed.safetensors")
    )
    return Project(project.directory)


def parts_of_16(project: Project) -> Project:
    """Each core of a CPU takes its share of a batch."""
    change_setting(project.directory, "backbone", "batch_size", 16 * CORES)
    return Project(project.directory)


def test_a_second_embed_computes_nothing(empty_project: Project, tiny_pool: Path) -> None:
    ingest(empty_project, tiny_pool)
    empty_project = parts_of_16(empty_project)
    seen: list[tuple[int, int]] = []
    first = embed_pool(empty_project, progress=lambda *both: seen.append(both))
    assert (first.total, first.computed, first.left_out) == (40, 40, {})
    # parts of 16, 16 and 8, in the order they were finished
    assert sorted(np.diff([0, *(done for done, _ in seen)])) == [8, 16, 16]
    assert seen[-1] == (40, 40)
    assert first.images_per_s > 0
    second = embed_pool(empty_project)
    assert (second.total, second.computed, second.images_per_s) == (40, 0, 0.0)


def test_new_images_alone_are_computed(project: Project, tmp_path: Path, draw_pool: Draw) -> None:
    pool = draw_pool(tmp_path / "more", per_leaf=3, seed=9)
    for extra in sorted(pool.rglob("*.png"))[10:]:
        extra.unlink()
    assert ingest(project, pool).added == 10
    assert embed_pool(project).computed == 10
    assert missing(project) == 0


def test_each_image_gets_its_own_vector(project: Project) -> None:
    backbone = project_backbone(project)
    cache = open_cache(project, backbone)
    with project.database.reader() as session:
        rows = list(session.scalars(select(Image)))
    for row in rows[::7]:
        alone = backbone.embed(np.stack([backbone.prepare(open_image(row.location))]))
        np.testing.assert_allclose(cache.read([row.sha256]), alone, atol=2e-3)


def test_a_changed_checkpoint_never_serves_an_old_vector(project: Project, tmp_path: Path) -> None:
    before = open_cache(project, project_backbone(project)).read(hashes(project))
    changed = change_weights(project, tmp_path)
    assert missing(changed) == 40
    report = embed_pool(changed)
    assert report.computed == 40
    after = open_cache(changed, project_backbone(changed)).read(hashes(changed))
    assert not np.allclose(before, after, atol=1e-2)


def test_another_image_size_is_another_cache(project: Project) -> None:
    change_setting(project.directory, "backbone", "image_size", 48)
    assert missing(Project(project.directory)) == 40


def test_a_damaged_shard_is_computed_again(project: Project) -> None:
    (shard,) = project.bottlenecks.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    report = embed_pool(project)
    assert (report.damaged_shards, report.computed) == (1, 40)
    assert embed_pool(project).damaged_shards == 0


def test_an_image_that_vanished_is_left_out_and_the_rest_goes_on(
    empty_project: Project, draw_pool: Draw
) -> None:
    pool = with_pool(empty_project, draw_pool)
    (pool / "round/ball/0-000.png").unlink()
    (pool / "round/ball/0-001.png").write_bytes(b"cut")
    report = embed_pool(empty_project)
    assert (report.total, report.computed) == (40, 38)
    assert {Path(one).name for one in report.left_out} == {"0-000.png", "0-001.png"}
    with empty_project.database.reader() as session:
        assert count(session, "pool") + count(session, "audit") == 38
        listed = set(session.scalars(select(LeftOut.location)))
    assert listed == {"pool/round/ball/0-000.png", "pool/round/ball/0-001.png"}


def test_an_image_that_was_overwritten_gets_no_wrong_vector(
    empty_project: Project, draw_pool: Draw
) -> None:
    """The cache is keyed by content: the new picture's vector under the old hash is a lie."""
    pool = with_pool(empty_project, draw_pool)
    PilImage.new("RGB", (32, 32), "black").save(pool / "round/ball/0-000.png")
    report = embed_pool(empty_project)
    assert report.computed == 39
    (reason,) = report.left_out.values()
    assert "changed since it was ingested" in reason
    assert ingest(empty_project, pool).added == 1
    assert embed_pool(empty_project).computed == 1


def test_a_labelled_image_that_vanished_stops_nothing(
    empty_project: Project, draw_pool: Draw, tmp_path: Path
) -> None:
    """Its label is kept, its vector cannot be had for a new checkpoint: rounds go on without."""
    pool = with_pool(empty_project, draw_pool)
    embed_pool(empty_project)
    open_round(empty_project)
    _answer_all(empty_project)
    changed = change_weights(empty_project, tmp_path)
    with changed.database.reader() as session:
        asked = session.execute(
            select(Image.location, QueryRow.kind).join(QueryRow, QueryRow.image_id == Image.id)
        )
        lost = {kind: location for location, kind in asked}  # one query, one audit image
    for location in lost.values():
        Path(changed.absolute(location)).unlink()
    report = embed_pool(changed)
    assert (report.computed, len(report.left_out)) == (38, 2)
    assert close_round(changed) == "m0001"
    assert open_round(changed) == 2
    assert embed_pool(changed).computed == 0
    assert len(list(pool.rglob("*.png"))) == 38


def test_a_lost_image_that_is_found_again_is_as_before(
    empty_project: Project, draw_pool: Draw, tmp_path: Path
) -> None:
    pool = with_pool(empty_project, draw_pool)
    embed_pool(empty_project)
    open_round(empty_project)
    changed = change_weights(empty_project, tmp_path)
    with changed.database.reader() as session:
        before = dict(session.execute(select(Image.id, Image.split)).all())
        asked = list(
            session.scalars(select(Image.location).join(QueryRow, QueryRow.image_id == Image.id))
        )
    (tmp_path / "away").mkdir()
    for number, location in enumerate(asked):
        shutil.move(changed.absolute(location), tmp_path / f"away/{number}.png")
    assert len(embed_pool(changed).left_out) == len(asked) == 8
    report = ingest(changed, tmp_path / "away")  # another folder, other names
    assert (report.added, report.duplicates) == (0, 8)
    assert embed_pool(changed).computed == 8
    with changed.database.reader() as session:
        assert dict(session.execute(select(Image.id, Image.split)).all()) == before
    assert len(list(pool.rglob("*.png"))) == 32


KILLED = """
import sys, time
from pathlib import Path
from atlas.embedding import embed_pool
from atlas.project import Project

def show(done, total):
    print(done, flush=True)
    time.sleep(0.1)

embed_pool(Project(Path(sys.argv[1])), progress=show)
"""


def test_a_killed_embed_loses_at_most_one_batch(empty_project: Project, tiny_pool: Path) -> None:
    ingest(empty_project, tiny_pool)
    change_setting(empty_project.directory, "backbone", "batch_size", 2 * CORES)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(empty_project.directory)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        said = [int(next(lines)) for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in lines]  # what it did until the signal came
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert said[:5] == [2, 4, 6, 8, 10]  # each core's share of a batch
    assert said[-1] < 40
    held = 40 - missing(empty_project)
    assert said[-1] <= held <= said[-1] + 2 * CORES  # the batch in flight may be on the disk
    assert embed_pool(Project(empty_project.directory)).computed == 40 - held


def test_a_full_disk_keeps_what_was_finished(
    empty_project: Project, tiny_pool: Path, small_disk: Callable[[int], Path]
) -> None:
    """Pages have 4 KiB, and each part is one: two of the three fit on 8 KiB."""
    ingest(empty_project, tiny_pool)
    empty_project = parts_of_16(empty_project)
    empty_project.bottlenecks.symlink_to(small_disk(8))
    with pytest.raises(DiskFull, match=r"no space left .*free some room and repeat"):
        embed_pool(empty_project)
    left = missing(empty_project)
    assert left in (8, 16)  # the part that did not fit: the one of 8, or one of 16
    small_disk(1024)
    assert embed_pool(empty_project).computed == left


def _answer_all(project: Project) -> None:
    with project.database.session() as session:
        answers = [
            Annotation(f"a-{row.uid}", row.uid, "submitted", utc_now(), {LABEL: truth[LABEL]})
            for row, truth in session.execute(
                select(QueryRow, Image.truth).join(Image, Image.id == QueryRow.image_id)
            )
        ]
        record(session, answers, received_by="poll", taxonomy=project.taxonomy)
