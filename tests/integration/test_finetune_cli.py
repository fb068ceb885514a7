"""`atlas finetune` as a user types it: stopped by Ctrl-C, gone on with, judged, taken back."""

from collections.abc import Callable
import json
from pathlib import Path
import shutil
import signal
import subprocess
import sys

import pytest
from rounds_support import go_round
from worker_support import wait_until

from atlas.batches import Ask
from atlas.cli import main
from atlas.finetune import folder_of
from atlas.project import Project
from atlas.settings_file import load_settings, save_settings
from atlas.store.lease import FINETUNE, lease
from services import jobs

ATLAS = str(Path(sys.executable).with_name("atlas"))
STEPS = 120

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "110")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["atlas", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def labelled(tmp_path: Path, project_template: Path) -> Project:
    """28 labels and a model; no fine-tune is good enough to be promoted."""
    shutil.copytree(project_template, tmp_path / "project")
    settings = load_settings(tmp_path / "project")
    fine = {"steps": STEPS, "batch_size": 4, "workers": 1, "held_out": 0.7}
    fine |= {"checkpoint_every_s": 0.1, "promote_p": 1e-9}
    changes = {
        "finetune": settings.finetune.model_copy(update=fine),
        "uda": settings.uda.model_copy(update={"ratio": 1}),
    }
    save_settings(settings.model_copy(update=changes), tmp_path / "project")
    project = Project(tmp_path / "project")
    go_round(project, Ask(28, "random"))
    return project


def test_ctrl_c_then_the_same_command_then_by_hand(labelled: Project, run: Run) -> None:
    folder, checkpoint = labelled.directory, folder_of(labelled) / "checkpoint.pt"
    process = subprocess.Popen(
        [ATLAS, "finetune", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    wait_until(checkpoint.exists, 120.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "fine-tuning stopped after step" in err and "start it again to go on" in err
    assert "Traceback" not in err and "error:" not in err
    stopped_at = int(err.partition("after step ")[2].partition(";")[0])
    assert 0 < stopped_at < STEPS

    code, out, err = run("finetune", folder, "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["model"], result["promoted"]) == ("m0002", False)
    assert not checkpoint.exists()

    # which numbers spoke against it, beside those of the model that answers
    code, out, _ = run("models", folder)
    assert code == 0
    said = " ".join(out.split())
    assert "m0001 *" in said and "m0002 *" not in said
    assert f"m0002 fine-tuned, not promoted: {result['reason']}" in said

    assert run("promote", folder, "m0002")[:2] == (0, "m0002 answers now\n")
    assert "m0002 *" in run("models", folder)[1]
    assert run("rollback", folder)[:2] == (0, "m0001 answers now\n")


def test_what_is_refused_is_a_sentence(project: Project, run: Run) -> None:
    folder = project.directory
    code, out, err = run("finetune", folder)
    assert (code, out) == (2, "")
    assert "at least 10 must" in err
    with lease(project.database, FINETUNE, "a worker"):
        for arguments in (("finetune", folder), ("finetune", folder, "--anew")):
            code, out, err = run(*arguments)
            assert (code, out) == (2, "")
            assert "a worker holds the lease 'finetune'" in err
    code, out, err = run("stop", folder, "finetune")
    assert (code, out) == (2, "")
    assert "no job 'finetune'; known: none yet" in err


def test_a_job_that_is_asked_for_and_asked_to_stop(project: Project, run: Run) -> None:
    folder = project.directory
    _, out, _ = run("finetune", folder, "--queue")
    assert out.startswith("finetune is queued; a worker of `atlas up` does it")
    assert jobs.start(project.database, "finetune", holder="a worker")
    assert json.loads(run("finetune", folder, "--queue", "--json")[1])["state"] == "running"
    step = {"stage": "fine-tuning", "done": 3, "total": 9, "epoch": 0.4, "supervised": 1.5}
    step |= {"consistency": 0.1, "sure": 0.5, "images_per_s": 40.0, "eta_s": 61.0, "notes": ()}
    jobs.progress(project.database, "finetune", step)
    out = " ".join(run("status", folder)[1].split())
    assert "finetune running: fine-tuning: 3 of 9 steps, 0:01:01 left; epoch 0.4;" in out
    out = run("stop", folder, "finetune")[1]
    assert out == "finetune is asked to stop; it keeps a checkpoint and ends within seconds\n"
    jobs.stopped(project.database, "finetune", "stopped after step 3; start it again to go on")
    out = " ".join(run("status", folder)[1].split())
    assert "finetune stopped: stopped after step 3; start it again to go on" in out
    assert run("stop", folder, "finetune")[1] == "finetune is stopped\n"

    jobs.request(project.database, "embed")
    assert jobs.start(project.database, "embed", holder="a worker")
    out = run("stop", folder, "embed")[1]
    assert out.startswith("embed is asked to stop; it finishes what it began;")
    jobs.finish(project.database, "embed", {"done": 40, "total": 40})
    assert run("stop", folder, "embed")[1] == "embed was done already\n"
