"""A worker that is asked to end, as `atlas serve worker` runs it: seconds, and no job is blamed."""

from collections.abc import Callable
from pathlib import Path
import subprocess
import sys
import time

import pytest

from atlas.pool import ingest
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import Job
from services import jobs
from services.ending import FINISH_S, GIVE_BACK_S
from services.sending import request_and_send

pytestmark = pytest.mark.slow


def job_of(project: Project) -> Job:
    with project.database.reader() as session:
        return session.get_one(Job, "embed")


def test_a_long_job_is_given_back(empty_project: Project, draw_pool: Callable[..., Path]) -> None:
    directory = empty_project.directory
    change_setting(directory, "backbone", "batch_size", 1)  # 2000 pictures, one by one
    project = Project(directory)
    ingest(project, draw_pool(directory / "pool", per_leaf=500), truth="folders")
    command = [str(Path(sys.executable).with_name("atlas")), "serve", "worker", str(directory)]
    with (project.run / "worker.log").open("wb") as log:
        worker = subprocess.Popen([*command, "--processes", "1"], stdout=log, stderr=log)
    try:
        request_and_send(project, "embed")
        end_s = time.monotonic() + 300.0
        while not job_of(project).progress.get("done"):
            assert time.monotonic() < end_s, (project.run / "worker.log").read_text()
            time.sleep(0.05)
        assert job_of(project).progress["total"] == 2000
        started_s = time.monotonic()
        worker.terminate()
        worker.wait(timeout=60)
        assert time.monotonic() - started_s < FINISH_S + GIVE_BACK_S + 3.0
    finally:
        worker.kill()
        worker.wait()
    job = job_of(project)
    assert (job.state, job.error) == ("queued", "its worker was stopped; another goes on")
    assert job.progress["done"] < 2000
    assert jobs.LOST not in job.progress  # five of these would give the job up
    project.database.engine.dispose()
