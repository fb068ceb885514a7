"""`atlas schedule` on the command line."""

from collections.abc import Callable
import json
from pathlib import Path

import pytest
from retraining_support import bare_project

from atlas.cli import main
from atlas.project import Project
from atlas.store.tables import ScheduleRow
from atlas.types import utc_now
from services.retraining.keeping import carry_out


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    return bare_project(tmp_path / "project")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["atlas", "schedule", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return call


def test_the_commands(bare: Project, run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("show", bare.directory)
    assert (code, out) == (0, "heads: no schedule\nfinetune: no schedule\n")
    night = ("--cron", "0 3 * * *", "--zone", "Europe/Berlin", "--after-labels", 50)
    guards = ("--pause", "6h", "--quiet", "08:00-18:00", "--per-day", 1)
    code, out, _ = run("set", bare.directory, "finetune", *night, *guards, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["schedule"] == {
        "cron": "0 3 * * *",
        "zone": "Europe/Berlin",
        "after_labels": 50,
        "below": {},
        "drift": {},
        "pause_s": 21600,
        "quiet": "08:00-18:00",
        "per_day": 1,
    }
    assert [at[10:16] for at in found["next"]] == ["T03:00"] * 5
    carry_out(bare)
    code, out, _ = run("show", bare.directory)
    assert code == 0
    assert (
        "finetune: at “0 3 * * *”, after 50 new labels, 6h apart, not in 08:00-18:00, at most 1 a "
        "day (Europe/Berlin)" in " ".join(out.split())
    )
    assert out.count("next: ") == 5
    assert out.count("not retrained: there are no labels yet") == 2  # now, and as decided
    code, out, _ = run("set", bare.directory, "heads", "--below", "shape=0.8", "--per-day", 2)
    assert "heads: with shape below 80%, at most 2 a day (UTC)" in out
    code, out, _ = run("set", bare.directory, "heads", "--drift", "shape=0.1")
    assert "heads: with shape drifted by 10 points (UTC)" in out
    assert run("off", bare.directory, "finetune")[1] == "finetune: no longer scheduled\n"
    assert run("off", bare.directory, "finetune")[1] == "finetune: was not scheduled\n"


def test_one_that_cannot_be_read_is_not_called_none(
    bare: Project, run: Callable[..., tuple[int, str, str]]
) -> None:
    content = {"cron": "0 3 * * *", "zone": "US/Pacific-New"}
    with bare.database.session() as session:
        session.add(ScheduleRow(kind="heads", content=content, set_at=utc_now()))
    _, out, _ = run("show", bare.directory)
    assert "heads: not retrained: the schedule cannot be read" in out
    assert "finetune: no schedule" in out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--pause", "6"), "--pause '6': expected such as 30m, 6h or 1d"),
        (("--below", "shape"), "--below 'shape': expected such as leaf=0.1"),
        (("--drift", "shape:0.1"), "--drift 'shape:0.1': expected such as leaf=0.1"),
        ((), "nothing starts it"),
        (("--cron", "0 25 * * *"), "'25' is no hour"),
    ],
)
def test_a_mistake_is_a_sentence(
    bare: Project,
    run: Callable[..., tuple[int, str, str]],
    arguments: tuple[str, ...],
    wanted: str,
) -> None:
    code, _, err = run("set", bare.directory, "heads", *arguments)
    assert code == 2
    assert wanted in err
