"""The commands as a user types them: what they print, what they leave, how they fail."""

from collections.abc import Callable
from importlib.metadata import version
import json
from pathlib import Path
import sqlite3
from typing import Any, NamedTuple

import pytest

from atlas import round_state, rounds
from atlas.cli import main
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.serving import load_export, project_predictor
from tests.conftest import ARCH, SIDE


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["atlas", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return Ran(int(stopped.value.code or 0), out, err)

    return call


@pytest.fixture
def init(run: Run, tmp_path: Path, tiny_pool: Path, checkpoint: Path) -> Callable[..., Ran]:
    def call(*more: object, images: Path = tiny_pool, truth: bool = True) -> Ran:
        backbone = ("--checkpoint", checkpoint, "--arch", ARCH, "--image-size", SIDE)
        given = {str(one) for one in more}
        options = () if given & {"--checkpoint", "--arch", "--backbone"} else backbone
        folders = ("--truth", "folders") if truth else ()
        return run(
            "init", tmp_path / "p", "--images", images, "--audit-size", 8, *folders, *options, *more
        )

    return call


def answer(project: Project) -> None:
    """Open a round without Label Studio and answer it by simulation."""
    oracle = SimulatedOracle(project)
    rounds.push_round(project, oracle)
    rounds.collect(project, oracle)


def refused(ran: Ran, *words: str) -> None:
    """One sentence, exit code 2, nothing on stdout."""
    assert ran.code == 2, ran
    assert ran.err.count("error:") == 1 and "Traceback" not in ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.err, ran.err


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version")[:2] == (0, f"atlas {version('atlas-labels')}\n")


def test_a_project_from_first_command_to_last(run: Run, init: Run, tmp_path: Path) -> None:
    assert init("--json").json == {
        "found": 40,
        "added": 40,
        "duplicates": 0,
        "audit": 8,
        "left_out": {},
    }
    folder = tmp_path / "p"
    assert run("embed", folder, "--json").json["computed"] == 40
    assert run("embed", folder, "--json").json["computed"] == 0
    queries = run("query", folder, "-n", 8, "--no-push", "--json").json
    # 8 by the sampler, and of 8 audit images all: audit.per_round is 40
    assert (queries["round"], queries["pushed"], len(queries["queries"])) == (1, 0, 16)
    project = Project(folder)
    answer(project)
    trained = run("train", folder, "--json").json
    assert (trained["model"], trained["round_closed"]) == ("m0001", 1)
    assert trained["accuracy"]["level_1"]["n"] == 8
    assert trained["accuracy"]["level_1"]["state"] == "too_few_labels"  # 8 of min_labels 30
    assert set(run("accuracy", folder, "--level", "level_2", "--json").json) == {"level_2"}
    status = run("status", folder, "--json").json
    assert (status["labels"], status["model"], status["open_round"]) == (8, "m0001", None)
    for command in (("status",), ("accuracy",), ("models",), ("embed",)):
        shown = run(*command, folder)
        assert shown.code == 0 and shown.out.strip()


def test_models_are_promoted_and_rolled_back(run: Run, project: Project) -> None:
    folder = project.directory
    for number in (1, 2):
        rounds.open_round(project)
        answer(project)
        assert run("train", folder, "--json").json["model"] == f"m000{number}"
    assert run("rollback", folder, "--json").json == {"model": "m0001"}
    assert [one["current"] for one in run("models", folder, "--json").json] == [False, True]
    refused(run("rollback", folder), "no earlier model")
    assert run("promote", folder, "m0002", "--json").json == {"model": "m0002"}
    refused(run("promote", folder, "m0009"), "m0009", "m0001, m0002")


def test_export_and_predict(run: Run, project: Project, tiny_pool: Path, tmp_path: Path) -> None:
    folder = project.directory
    refused(run("predict", folder, tiny_pool / "round/ball/0-000.png"), "no model yet")
    rounds.open_round(project)
    answer(project)
    run("train", folder)
    picture = tiny_pool / "round/ball/0-000.png"
    (record,) = run("predict", folder, picture, "--json").json
    ranked = record["tasks"]["shape"]
    assert {one["class"] for one in ranked} == set(project.taxonomy.leaves)
    assert sum(one["probability"] for one in ranked) == pytest.approx(1, abs=1e-3)
    out = run(
        "export", folder, "--labels", tmp_path / "l.jsonl", "--model", tmp_path / "m", "--json"
    )
    assert out.json["labels"] == 8  # 4 queries and 4 audit images
    lines = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert {line["split"] for line in lines} == {"pool", "audit"}
    for line in lines:  # folders are the truth, and the simulated annotator tells it
        assert line["labels"]["label"] in line["location"]
        assert line["annotations"][0]["annotator"] == "simulated"
    there = load_export(tmp_path / "m").predict([str(picture)])
    assert there == project_predictor(project).predict([str(picture)])
    refused(run("export", folder, "--model", tmp_path / "m"), "not empty")
    refused(run("export", folder), "--labels", "--model")


def test_init_refuses_and_leaves_nothing(
    init: Run, tmp_path: Path, checkpoint: Path, tiny_pool: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    cyclic = tmp_path / "cycle.yaml"
    cyclic.write_text("parents: {a: b, b: a, c: null}\n")
    other = tmp_path / "other.yaml"
    other.write_text("tree: [round, square]\n")
    weights = ("--checkpoint", checkpoint, "--arch")
    refused(init(images=empty), "no image")
    refused(init(images=tmp_path / "nowhere"), "nothing at")
    refused(init("--taxonomy", cyclic), "cycle")
    refused(init("--taxonomy", other), "not in the taxonomy")
    refused(init(truth=False), "no taxonomy")
    refused(init("--truth", "guess"), "folders or manifest")
    refused(init(*weights, "test_vit"), "does not fit")
    refused(init(*weights, "no_such_network"), "no_such_network")
    refused(init("--checkpoint", checkpoint), "--arch")
    refused(init("--checkpoint", tmp_path / "no.pth", "--arch", ARCH), "no checkpoint")
    refused(init("--audit-size", 40), "audit")
    assert not (tmp_path / "p").exists()
    assert init().code == 0
    refused(init(), "already holds a project")
    assert Project(tmp_path / "p").settings.pool.images == str(tiny_pool)


def test_no_weights_to_be_had_says_both_ways_out(
    init: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(init("--backbone", "resnet10t.c3_in1k"), "model hub", "--checkpoint")
    assert not (tmp_path / "p").exists()


def test_query_refuses_before_anything_is_chosen(run: Run, project: Project) -> None:
    folder = project.directory
    refused(run("query", folder, "-n", 4), "Label Studio", "atlas up")
    refused(run("query", folder, "--no-push", "--sampler", "marginn"), "marginn", "entropy, ")
    refused(run("query", folder, "--no-push", "-n", 500), "asked for 500", "has 32")
    refused(run("sync", folder), "Label Studio")
    refused(run("accuracy", folder, "--level", "colour"), "family, shape")
    refused(run("train", folder), "no labels")
    with project.database.reader() as session:
        assert round_state.open_number(session) is None


def test_a_project_from_a_newer_version_is_left_alone(run: Run, project: Project) -> None:
    project.database.engine.dispose()
    with sqlite3.connect(project.directory / "atlas.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    refused(run("status", project.directory), "newer Atlas", "upgrade")


def test_no_project_and_broken_settings(run: Run, project: Project, tmp_path: Path) -> None:
    refused(run("status", tmp_path), "no atlas.toml", "atlas init")
    toml = project.directory / "atlas.toml"
    toml.write_text(toml.read_text() + "\n[rounds]\nbatch_size = 3\n")
    refused(run("status", project.directory), "rounds")


def test_every_command_has_help(run: Run) -> None:
    listed = run("--help")
    assert listed.code == 0
    commands = (
        "init ingest embed status query sync train accuracy models promote rollback predict export "
        "up demo simulate pretrain-demo finetune stop compare-heads where-to-cut token schedule"
    )
    for command in commands.split():
        assert command in listed.out
        assert run(command, "--help").code == 0


def test_simulate(run: Run, tiny_pool: Path, checkpoint: Path, tmp_path: Path) -> None:
    backbone = ("--checkpoint", checkpoint, "--arch", ARCH, "--image-size", SIDE)
    plan = ("--images", tiny_pool, "--truth", "folders", "--batch", 6, "--budget", 15, "--seeds", 2)
    common = (*plan, "--out", tmp_path / "out", *backbone)
    curves = run("simulate", *common, "--sampler", "default,random", "--start", 0, "--json").json
    assert curves["levels"] == ["level_1", "level_2"]
    assert set(curves["samplers"]) == {"default", "random"}
    for runs in curves["samplers"].values():
        assert [one["seed"] for one in runs] == [0, 1]
        for one in runs:
            # batches of 6 from a budget of 15: 6, 12, then the 3 that are left
            assert [point["labels"] for point in one["points"]] == [6, 12, 15]
            # measured on a fifth of 40: an accuracy is a number of eighths
            assert all(p["accuracy"]["level_2"] * 8 % 1 == 0 for p in one["points"])
    assert json.loads((tmp_path / "out/curves.json").read_text()) == curves
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    again = run("simulate", *common, "--sampler", "default,random", "--start", 0, "--json").json
    assert again == curves
    refused(run("simulate", *common, "--sampler", "random", "--start", 3), "another --out")
    refused(run("simulate", *common, "--sampler", "best"), "best", "margin")


def test_simulate_on_a_test_folder_of_ones_own(
    run: Run, draw_pool: Callable[..., Path], tiny_pool: Path, checkpoint: Path, tmp_path: Path
) -> None:
    test = draw_pool(tmp_path / "test", per_leaf=3, seed=7)
    curves = run(
        *("simulate", "--images", tiny_pool, "--test", test, "--out", tmp_path / "out"),
        *("--sampler", "k_center", "--start", 5, "--batch", 5, "--budget", 10, "--seeds", 1),
        *("--checkpoint", checkpoint, "--arch", ARCH, "--image-size", SIDE, "--json"),
    ).json
    (one,) = curves["samplers"]["k_center"]
    assert [point["labels"] for point in one["points"]] == [5, 10]
    # 4 leaves × 3 pictures: an accuracy is a number of twelfths
    assert all(p["accuracy"]["level_1"] * 12 % 1 == pytest.approx(0) for p in one["points"])
