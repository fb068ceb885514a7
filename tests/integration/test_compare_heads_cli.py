"""`atlas compare-heads` as a user types it: the table, the JSON, what is recorded and refused."""

import json
from pathlib import Path

import pytest

from atlas import rounds
from atlas.cli import main
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.settings_file import SETTINGS_FILE, change_setting, load_settings


@pytest.fixture
def labelled(project: Project) -> Path:
    """Eight labels in two rounds."""
    for _ in range(2):
        rounds.open_round(project)
        oracle = SimulatedOracle(project)
        rounds.push_round(project, oracle)
        rounds.collect(project, oracle)
        rounds.close_round(project)
    return project.directory


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["atlas", "compare-heads", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_a_table_a_winner_and_what_cannot_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, labelled: Path
) -> None:
    options = ("--heads", "tree,shared_trunk", "--balancers", "uniform,gradnorm")
    quick = ("--folds", 2, "--repeats", 1)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("ATLAS_HEAD__STEPS__COUNT", "5")
    code, out, err = run(capsys, monkeypatch, labelled, *options, *quick)
    assert code == 0
    assert "labels: family 8, shape 8" in out
    assert "negative transfer" in out
    assert out.count("shared_trunk") >= 4
    assert "tree with gradnorm: not possible" in err
    assert "recorded in atlas.toml" in out


def test_the_winner_is_recorded_and_arguments_of_the_loser_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, labelled: Path
) -> None:
    change_setting(labelled, "head", "args", {"l2": 0.1})
    options = (labelled, "--heads", "cascade", "--folds", 2, "--repeats", 1, "--json")
    only = (*options, "--balancers", "uncertainty")
    before = (labelled / SETTINGS_FILE).read_text(encoding="utf-8")
    code, out, _ = run(capsys, monkeypatch, *only, "--no-record")
    assert code == 0
    found = json.loads(out)
    assert found["winner"]["head"] == "cascade" and not found["recorded"]
    assert (labelled / SETTINGS_FILE).read_text(encoding="utf-8") == before
    code, out, _ = run(capsys, monkeypatch, *only)
    assert code == 0 and json.loads(out)["recorded"]
    settings = load_settings(labelled).head
    assert (settings.name, settings.balancer, settings.args) == ("cascade", "uncertainty", {})


def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, labelled: Path
) -> None:
    for options, said in (
        (("--folds", 5), "8 labels for 5 folds; needed are 10"),
        (("--heads", "forest"), "unknown head 'forest'; known: "),
        (("--balancers", "fair"), "unknown balancer 'fair'; known: fixed, gradnorm"),
        (("--heads", "tree", "--balancers", "gradnorm", "--folds", 2), "nothing to compare"),
    ):
        code, out, err = run(capsys, monkeypatch, labelled, *options)
        assert code == 2 and out == ""
        assert said in " ".join(err.split()), err


def test_a_project_without_labels(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    code, _, err = run(capsys, monkeypatch, project.directory)
    assert code == 2 and "no labels to train on yet" in err


def test_ctrl_c_changes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, labelled: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = (labelled / SETTINGS_FILE).read_text(encoding="utf-8")
    monkeypatch.setattr("atlas.comparing_heads.try_out", interrupted)
    code, out, err = run(capsys, monkeypatch, labelled, "--folds", 2)
    assert (code, out) == (130, "")
    assert "interrupted; nothing was changed" in err and "error" not in err
    assert (labelled / SETTINGS_FILE).read_text(encoding="utf-8") == before
