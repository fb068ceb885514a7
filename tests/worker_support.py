"""What the tests of workers share: real `celery worker` processes, and waiting for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
import subprocess
import sys
import time

from atlas.project import Project
from atlas.store.tables import Job
from services.run_files import forget_state, read_state

READY_S = 90.0

StartWorker = Callable[[Project], subprocess.Popen[bytes]]


@contextmanager
def workers(queue: str) -> Iterator[StartWorker]:
    """Starts workers of `queue` as `atlas up` does and waits until they take jobs; kills them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(project: Project) -> subprocess.Popen[bytes]:
        forget_state(project, "worker")
        command = [sys.executable, "-m", "celery", "-A", "services.celery_app", "worker"]
        command += ["-Q", queue, "--concurrency", "1", "--loglevel", "WARNING"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {
            **os.environ,
            "ATLAS_PROJECT": str(project.directory),
            "OMP_WAIT_POLICY": "PASSIVE",  # as `atlas up` sets it
        }
        with (project.run / "worker.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        started.append(process)
        wait_until(lambda: read_state(project, "worker").get("pid") == process.pid, READY_S)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for something that happens in another process."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"still not so after {timeout_s} s"
        time.sleep(0.05)


def job_of(project: Project, job_id: str) -> Job:
    """The job's row."""
    with project.database.reader() as session:
        return session.get_one(Job, job_id)


def state_of(project: Project, job_id: str) -> str:
    """The job's state."""
    return job_of(project, job_id).state
