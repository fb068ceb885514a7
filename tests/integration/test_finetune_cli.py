"""`atlas finetune` as a user types it: stopped by Ctrl-C, gone on with, judged, taken back."""

from collections.abc import Callable, Iterator
from datetime import timedelta
import json
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest
from rounds_support import go_round
from sqlalchemy import update
from worker_support import job_of, state_of, wait_until

from atlas.batches import Ask
from atlas.cli import main
from atlas.finetune import BEGAN, folder_of
from atlas.project import Project
from atlas.settings_file import change_setting, load_settings, save_settings
from atlas.store.lease import FINETUNE, lease
from atlas.store.tables import Lease, ModelRow
from atlas.types import utc_now
from services import jobs
from services.pulse import record_tick

ATLAS = str(Path(sys.executable).with_name("atlas"))
STEPS = 120
PATIENCE_S = 120.0

Run = Callable[..., tuple[int, str, str]]
Start = Callable[[Path], subprocess.Popen[str]]


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


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `atlas finetune` in a process of its own."""
    begun: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [ATLAS, "finetune", str(folder)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_ctrl_c_then_the_same_command_then_by_hand(
    labelled: Project, run: Run, start: Start
) -> None:
    folder, checkpoint = labelled.directory, folder_of(labelled) / "checkpoint.pt"
    process = start(folder)
    wait_until(checkpoint.exists, PATIENCE_S)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "fine-tuning stopped after step" in err and "start it again to go on" in err
    assert "Traceback" not in err and "error:" not in err
    stopped_at = int(err.partition("after step ")[2].partition(";")[0])
    assert 0 < stopped_at < STEPS

    row = job_of(labelled, "finetune")
    assert (row.state, row.arguments["by"]) == ("stopped", "atlas finetune")
    assert row.error == f"fine-tuning stopped after step {stopped_at}; start it again to go on"

    code, out, err = run("finetune", folder, "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["model"], result["promoted"]) == ("m0002", False)
    assert not checkpoint.exists()
    row = job_of(labelled, "finetune")
    assert (row.state, row.progress) == ("done", result)
    said = " ".join(run("status", folder)[1].split())
    assert f"finetune done: m0002 was not promoted: {result['reason']}" in said

    # which numbers spoke against it, beside those of the model that answers
    code, out, _ = run("models", folder)
    assert code == 0
    said = " ".join(out.split())
    assert "m0001 *" in said and "m0002 *" not in said
    assert f"m0002 fine-tuned, not promoted: {result['reason']}" in said

    assert run("promote", folder, "m0002")[:2] == (0, "m0002 answers now\n")
    assert "m0002 *" in run("models", folder)[1]
    assert run("rollback", folder)[:2] == (0, "m0001 answers now\n")


def test_one_at_a_terminal_is_a_job_like_any_other(
    labelled: Project, run: Run, start: Start
) -> None:
    """Seen, not begun twice, killed, gone on with, and stopped from elsewhere."""
    change_setting(labelled.directory, "finetune", "steps", 5000)
    folder, checkpoint = labelled.directory, folder_of(labelled) / "checkpoint.pt"
    first = start(folder)
    wait_until(checkpoint.exists, PATIENCE_S)
    said = " ".join(run("status", folder)[1].split())
    assert "finetune running: training: " in said and " of 5,000 steps, " in said
    code, out, err = run("finetune", folder)  # as soon as the first renews its lease
    assert (code, out) == (2, "")
    assert "a fine-tune of this project is running" in err

    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    reached = job_of(labelled, "finetune").progress["done"]
    with labelled.database.session() as session:  # as a quarter of a minute later
        session.execute(update(Lease).values(expires_at=utc_now()))
    said = " ".join(run("status", folder)[1].split())
    assert "finetune ended in the middle: training: " in said

    second = start(folder)
    wait_until(lambda: state_of(labelled, "finetune") == "running", PATIENCE_S)
    wait_until(lambda: job_of(labelled, "finetune").progress.get("done", 0) > reached, PATIENCE_S)
    assert run("stop", folder, "finetune")[0] == 0
    wait_until(lambda: state_of(labelled, "finetune") == "stopped", 30.0)
    row = job_of(labelled, "finetune")
    assert row.finished_at is not None and row.stop_asked_at is not None
    assert row.finished_at - row.stop_asked_at < timedelta(seconds=5)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (130, "")
    assert "start it again to go on" in err and "Traceback" not in err
    assert checkpoint.exists()


def test_what_is_refused_is_a_sentence(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.finetuning.DEAD_S", 0.0)  # whoever holds a lease lives
    folder = project.directory
    code, out, err = run("finetune", folder)
    assert (code, out) == (2, "")
    assert "at least 10 must" in err
    assert not folder_of(project).exists()
    row = job_of(project, "finetune")
    assert row.state == "failed" and row.error in " ".join(err.split())
    with lease(project.database, FINETUNE, "a worker"):
        for arguments in (("finetune", folder), ("finetune", folder, "--anew")):
            code, out, err = run(*arguments)
            assert (code, out) == (2, "")
            assert "a worker holds the lease 'finetune'" in err
    code, out, err = run("stop", folder, "embed")
    assert (code, out) == (2, "")
    assert "no job 'embed'; known: finetune" in err


def test_a_job_that_is_asked_for_and_asked_to_stop(project: Project, run: Run) -> None:
    folder = project.directory
    _, out, err = run("finetune", folder, "--queue")
    assert out.startswith("finetune is queued; a worker of `atlas up` does it")
    assert f"no worker is there now; it waits for `atlas up {folder}`" in " ".join(err.split())
    record_tick(project)
    assert "no worker" not in run("finetune", folder, "--queue")[2]
    assert jobs.start(project.database, "finetune", holder="a worker")
    assert json.loads(run("finetune", folder, "--queue", "--json")[1])["state"] == "running"
    step = {"stage": "training", "done": 3, "total": 9, "epoch": 0.4, "supervised": 1.5}
    step |= {"consistency": 0.1, "sure": 0.5, "images_per_s": 40.0, "eta_s": 61.0, "notes": ()}
    jobs.progress(project.database, "finetune", step)
    out = " ".join(run("status", folder)[1].split())
    assert "finetune running: training: 3 of 9 steps, 0:01:01 left; epoch 0.4;" in out
    out = run("stop", folder, "finetune")[1]
    assert out == "finetune is asked to stop; it keeps a checkpoint and ends within seconds\n"
    jobs.stopped(project.database, "finetune", "stopped after step 3; start it again to go on")
    out = " ".join(run("status", folder)[1].split())
    assert "finetune stopped: stopped after step 3; start it again to go on" in out
    assert run("stop", folder, "finetune")[1] == "finetune is stopped\n"

    jobs.request(project.database, "embed")
    assert jobs.start(project.database, "embed", holder="a worker")
    out = run("stop", folder, "embed")[1]
    assert out.startswith("embed is asked to stop; it ends after the batches that it is at;")
    jobs.finish(project.database, "embed", {"done": 40, "total": 40})
    assert run("stop", folder, "embed")[1] == "embed was done already\n"


def test_several_processes_under_torchs_own_launcher(labelled: Project) -> None:
    """One leads and alone prints, writes and judges; the other only trains with it."""
    folder = labelled.directory
    change_setting(folder, "finetune", "steps", 4)
    result = launched(folder)
    assert (result["model"], result["promoted"]) == ("m0002", False)
    assert state_of(labelled, "finetune") == "done"
    assert not folder_of(labelled).exists()

    # as after a kill between registering and forgetting: the other waits for nothing
    with labelled.database.reader() as session:
        name = session.get_one(ModelRow, "m0002").metrics["finetune"]["run"]
    folder_of(labelled).mkdir()
    (folder_of(labelled) / BEGAN).write_text(json.dumps({"run": name}))
    assert launched(folder) == result


def launched(folder: Path) -> dict[str, Any]:
    """The result of a fine-tune by two processes."""
    launcher = [str(Path(ATLAS).with_name("torchrun")), "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "--no-python", ATLAS, "finetune", str(folder), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
