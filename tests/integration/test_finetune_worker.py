"""A fine-tune on a real worker: killed, gone on with by another, stopped within seconds."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import pytest
from rounds_support import go_round

from atlas.batches import Ask
from atlas.finetune import folder_of
from atlas.project import Project
from atlas.settings import load_settings, save_settings
from atlas.store import lease as leases
from atlas.store.tables import Job
from services import jobs, tasks
from services.celery_config import GPU_QUEUE, build_app
from services.run_files import forget_state, read_state
from services.sending import request_and_send

StartWorker = Callable[[Project], subprocess.Popen[bytes]]


@pytest.fixture
def long_finetune(tmp_path: Path, project_template: Path) -> Project:
    """A project whose fine-tune takes minutes."""
    shutil.copytree(project_template, tmp_path / "project")
    settings = load_settings(tmp_path / "project")
    fine = {"steps": 5000, "batch_size": 4, "workers": 0, "held_out": 0.7}
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
    started: list[subprocess.Popen[bytes]] = []

    def start(project: Project) -> subprocess.Popen[bytes]:
        forget_state(project, "worker")
        command = [sys.executable, "-m", "celery", "-A", "services.celery_app", "worker"]
        command += ["-Q", GPU_QUEUE, "--concurrency", "1", "--loglevel", "WARNING"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {
            **os.environ,
            "ATLAS_PROJECT": str(project.directory),
            "OMP_WAIT_POLICY": "PASSIVE",  # as `atlas up` sets it
        }
        with (project.run / "worker.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        started.append(process)
        wait_until(lambda: read_state(project, "worker").get("pid") == process.pid, 90.0)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"still not so after {timeout_s} s"
        time.sleep(0.05)


def job(project: Project) -> Job:
    with project.database.reader() as session:
        return session.get_one(Job, "finetune")


def step(project: Project) -> int:
    return int(job(project).progress.get("done", 0))


def test_killed_gone_on_with_and_stopped(long_finetune: Project, start_worker: StartWorker) -> None:
    project, app = long_finetune, build_app(long_finetune)
    worker = start_worker(project)
    request_and_send(project, "finetune")
    wait_until(lambda: step(project) >= 3, 90.0)
    told = job(project).progress
    assert {"stage", "supervised", "consistency", "images_per_s", "eta_s"} <= set(told)
    checkpoint = folder_of(project) / "checkpoint.pt"
    wait_until(checkpoint.exists, 30.0)
    os.kill(worker.pid, signal.SIGKILL)  # its child dies with it
    worker.wait()
    reached = step(project)

    start_worker(project)

    def runs_again() -> bool:
        for one in jobs.due(project.database):
            tasks.send(app, project, one)
        return job(project).attempts > 1 and job(project).state == "running"

    # the leases of the dead run out first: that of the job, then that of the fine-tune
    wait_until(runs_again, 2 * leases.LEASE_S + 10)
    wait_until(lambda: step(project) > reached, 60.0)

    started_s = time.monotonic()
    assert jobs.stop(project.database, "finetune") == "running"
    wait_until(lambda: job(project).state == "stopped", 10.0)
    assert time.monotonic() - started_s < 5
    assert "start it again to go on" in job(project).error
    assert checkpoint.exists()
