"""A fine-tune on a real worker: killed, gone on with by another, stopped within seconds."""

from collections.abc import Iterator
import os
from pathlib import Path
import shutil
import signal
import time

import pytest
from rounds_support import go_round
from sqlalchemy import select
from worker_support import StartWorker, job_of, state_of, wait_until, workers

from atlas.batches import Ask
from atlas.cli import main
from atlas.finetune import folder_of
from atlas.project import Project
from atlas.serving import project_predictor
from atlas.settings_file import load_settings, save_settings
from atlas.store import lease as leases
from atlas.store.tables import Image
from services import jobs
from services.celery_config import GPU_QUEUE, build_app
from services.sending import request_and_send, send


@pytest.fixture
def long_finetune(tmp_path: Path, project_template: Path) -> Project:
    """A project whose fine-tune takes minutes."""
    shutil.copytree(project_template, tmp_path / "project")
    settings = load_settings(tmp_path / "project")
    fine = {"steps": 5000, "batch_size": 4, "workers": 1, "held_out": 0.7}
    fine |= {"checkpoint_every_s": 0.3}
    changes = {
        "finetune": settings.finetune.model_copy(update=fine),
        "uda": settings.uda.model_copy(update={"ratio": 1}),
    }
    save_settings(settings.model_copy(update=changes), tmp_path / "project")
    project = Project(tmp_path / "project")
    go_round(project, Ask(28, "random"))
    return project


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Starts a worker that takes what wants an accelerator."""
    with workers(GPU_QUEUE) as start:
        yield start


def step(project: Project) -> int:
    return int(job_of(project, "finetune").progress.get("done", 0))


def answers(project: Project) -> tuple[str, list[str]]:
    """The model that answers, and what it says of some pictures."""
    with project.database.reader() as session:
        places = [project.absolute(one) for one in session.scalars(select(Image.location).limit(3))]
    predictor = project_predictor(project)
    records = predictor.predict(places)
    best = [ranked[0]["class"] for one in records for ranked in one["tasks"].values()]
    return str(predictor.bundle.facts["id"]), best


def test_killed_gone_on_with_and_stopped(
    long_finetune: Project, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, app = long_finetune, build_app(long_finetune)
    before = answers(project)
    worker = start_worker(project)
    request_and_send(project, "finetune")
    wait_until(lambda: step(project) >= 3, 90.0)
    told = job_of(project, "finetune").progress
    assert told["stage"] == "training"
    assert {"total", "supervised", "consistency", "images_per_s", "eta_s"} <= set(told)
    checkpoint = folder_of(project) / "checkpoint.pt"
    wait_until(checkpoint.exists, 30.0)
    os.kill(worker.pid, signal.SIGKILL)  # its child dies with it
    worker.wait()
    reached = step(project)
    assert answers(project) == before  # as if nothing had begun

    start_worker(project)

    def runs_again() -> bool:
        for one in jobs.due(project.database):
            send(app, project, one)
        job = job_of(project, "finetune")
        return job.attempts > 1 and job.state == "running"

    # the leases of the dead run out first: that of the job, then that of the fine-tune
    wait_until(runs_again, 2 * leases.LEASE_S + 10)
    wait_until(lambda: step(project) > reached, 60.0)

    started_s = time.monotonic()
    monkeypatch.setattr("sys.argv", ["atlas", "stop", str(project.directory), "finetune"])
    with pytest.raises(SystemExit, match="0"):
        main()
    wait_until(lambda: state_of(project, "finetune") == "stopped", 10.0)
    assert time.monotonic() - started_s < 5
    assert "start it again to go on" in job_of(project, "finetune").error
    assert checkpoint.exists()
