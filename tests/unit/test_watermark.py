"""How far the knowledge of Label Studio's changes reaches."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from atlas.oracle import _watermark
from atlas.oracle._watermark import OVERLAP, SWEEP_EVERY, Watermark
from atlas.project import Project
from atlas.settings import Settings
from atlas.taxonomy import from_paths
from atlas.types import utc_now

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def test_it_stops_before_the_first_task_that_is_not_known() -> None:
    mark = Watermark(1).moved([(at(3), True), (at(1), True), (at(2), False)])
    assert mark.seen == at(1)
    assert mark.moved([(at(2), True), (at(3), True)]).seen == at(3)


def test_it_never_goes_back() -> None:
    assert Watermark(1, seen=at(5), swept=utc_now()).moved([(at(4), True)]).seen == at(5)


def test_nothing_known_reads_everything_and_counts_as_a_sweep() -> None:
    assert Watermark(1).since is None
    assert Watermark(1).moved([]).swept is not None
    assert Watermark(1, seen=at(5), swept=utc_now()).since == at(5) - OVERLAP


def test_a_sweep_is_due_after_a_while() -> None:
    old = utc_now() - SWEEP_EVERY - timedelta(seconds=1)
    mark = Watermark(1, seen=at(5), swept=old)
    assert mark.since is None
    swept = mark.moved([]).swept
    assert swept is not None and swept > old
    recent = Watermark(1, seen=at(5), swept=utc_now())
    assert recent.moved([(at(6), True)]).swept == recent.swept


def test_it_is_kept_per_label_studio_project(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", Settings(), from_paths(["cat", "dog"]))
    assert _watermark.load(project, 7) == Watermark(7)
    _watermark.save(project, Watermark(7, seen=at(1), swept=at(2)))
    assert _watermark.load(project, 7) == Watermark(7, seen=at(1), swept=at(2))
    assert _watermark.load(project, 8) == Watermark(8)  # another server: from the beginning
