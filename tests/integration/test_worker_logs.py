"""What real workers log of a job stands on its page: of `atlas up` and of `atlas serve worker`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import shutil
import socket
import subprocess
import sys
import time

from fastapi.testclient import TestClient
import pytest

from atlas.project import Project
from atlas.store.tables import Job
from services import jobs
from services.api import create_app
from services.celery_config import QUEUE, build_app
from services.kept_log import KeptLog
from services.run_files import read_state
from services.sending import send
from tests.dashboard_support import Page
from tests.worker_support import READY_S, state_of, wait_until, workers

ATLAS = str(Path(sys.executable).with_name("atlas"))


@contextmanager
def atlas_up(project: Project) -> Iterator[None]:
    with workers(QUEUE) as start:
        start(project)
        yield


@contextmanager
def atlas_serve(project: Project) -> Iterator[None]:
    """Its output goes where a server's machinery wants it, which is not the project."""
    command = [ATLAS, "serve", "worker", str(project.directory), "--processes", "1"]
    with (project.directory.parent / "stderr.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_until(lambda: read_state(project, "worker").get("pid") == process.pid, READY_S)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=[atlas_up, atlas_serve])
def worked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, project_template: Path
) -> Project:
    """A worker did one job and broke off another, whose arguments lack something."""
    directory = tmp_path_factory.mktemp("worked") / "project"
    shutil.copytree(project_template, directory)
    project = Project(directory)
    app = build_app(project)
    with request.param(project):
        for kind, state in (("embed", "done"), ("query", "failed")):
            job_id = jobs.request(project.database, kind)
            assert send(app, project, jobs.Due(job_id, kind))
            wait_for(project, job_id, state)
    return project


def wait_for(project: Project, job_id: str, state: str) -> None:
    wait_until(lambda: state_of(project, job_id) == state, 60.0)


def log_of(project: Project, job_id: str) -> list[str]:
    """The lines on the job's page."""
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        (shown,) = Page(client.get(f"/jobs/{job_id}").text).all("pre")
    return shown["text"].splitlines()


def test_a_job_shows_what_a_worker_logged(worked: Project) -> None:
    (line,) = log_of(worked, "embed")
    moment, _, rest = line.partition("Z ")
    assert len(moment) == len("2026-01-02 03:04:05")
    assert rest.startswith("[info") and "job done" in rest
    assert "job=embed" in rest and "'total': 40" in rest and "seconds=" in rest


def test_a_traceback_is_shown_whole(worked: Project) -> None:
    lines = log_of(worked, "query")
    assert "[error" in lines[0] and "job failed" in lines[0] and "job=query" in lines[0]
    assert lines[1] == "Traceback (most recent call last):"
    assert any("steps.py" in line and line.startswith("  File ") for line in lines)
    assert "KeyError: 'n'" in lines  # the tick may have sent its message twice, and more follows
    assert not any("job=embed" in line for line in lines)
    with worked.database.reader() as session:
        error = session.get_one(Job, "query").error
    assert error == "KeyError: 'n'; the traceback is in the project's run/worker*.log"


def test_a_server_worker_says_the_same_to_its_machinery(worked: Project) -> None:
    output = worked.directory.parent / "stderr.log"
    kept = worked.run / f"worker-{socket.gethostname()}.log"
    assert kept.exists() == output.exists()  # `atlas up` keeps its worker's output already
    if kept.exists():
        assert events(kept) == events(output)
        assert {"job done", "job failed"} <= set(events(kept))


def events(log: Path) -> list[str]:
    lines = log.read_text().splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def test_what_other_code_logs_during_a_job_names_it(tmp_path: Path) -> None:
    """In a process of its own: the log is set up once in each."""
    subprocess.run([sys.executable, "-c", OTHER_CODE, str(tmp_path)], check=True)
    lines = (tmp_path / f"worker-{socket.gethostname()}.log").read_text().splitlines()
    assert [(one["event"], one["job"]) for one in map(json.loads, lines)] == [
        ("by structlog", "embed"),
        ("by logging", "embed"),
    ]


OTHER_CODE = """
import logging, os, sys
from pathlib import Path
import structlog
from services import logs

os.environ[logs.LOG_LINES] = "worker"
logs.set_up(Path(sys.argv[1]))
with structlog.contextvars.bound_contextvars(job="embed"):
    structlog.get_logger("x").info("by structlog")
    logging.getLogger("y").info("by logging")
"""


MANY_LINES = """
import logging, os, sys
from pathlib import Path
from services.kept_log import KeptLog

handler = KeptLog(Path(sys.argv[1]), max_bytes=20_000)
log = logging.getLogger("many")
log.addHandler(handler)
log.setLevel(logging.INFO)
os.fork()
os.fork()
for number in range(int(sys.argv[2])):
    log.info("%s %s", os.getpid(), f"{number:090d}")
if os.getppid() != int(sys.argv[3]):
    os._exit(0)
"""


def test_of_many_processes_none_loses_a_line(tmp_path: Path) -> None:
    """4 processes write 80 lines of 93 to 99 bytes each: of 31 kB, 20 kB are put aside, once."""
    path = tmp_path / "worker-a.log"
    arguments = [str(path), "80", str(os.getpid())]
    process = subprocess.Popen([sys.executable, "-c", MANY_LINES, *arguments])
    assert process.wait(timeout=60) == 0
    files = [path, path.with_suffix(".1.log")]
    wait_until(lambda: sum(one.read_text().count("\n") for one in files) == 320, 20.0)
    lines = [line.split() for one in files for line in one.read_text().splitlines()]
    numbers = Counter(int(number) for _, number in lines)
    assert numbers == dict.fromkeys(range(80), 4)
    assert 20_000 < files[1].stat().st_size < 20_500
    assert files[0].stat().st_size < 20_500


def test_a_host_that_is_gone_is_forgotten_after_a_month(tmp_path: Path) -> None:
    now_s = time.time()
    for name, days in {"old": 31, "young": 29}.items():
        path = tmp_path / f"worker-{name}.log"
        path.write_text("")
        os.utime(path, (now_s, now_s - days * 86400))
    KeptLog.in_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["worker-young.log"]


def test_a_line_that_was_cut_short_hides_no_other(project: Project) -> None:
    whole = '{"event": "job done", "level": "info", "job": "embed", "time": "%s"}\n'
    first, second = whole % "2026-01-02T03:04:05.1Z", whole % "2026-01-02T03:04:06.1Z"
    half = '{"event": "job failed", "job": "em'  # a full disk
    (project.run / "worker-a.log").write_text(first + half + second + half)
    jobs.request(project.database, "embed")
    assert log_of(project, "embed")[0].startswith("2026-01-02 03:04:05Z [info")


def test_lines_of_several_hosts_are_in_order(project: Project) -> None:
    line = '{"event": "%s", "level": "info", "job": "embed", "time": "2026-01-02T03:04:0%d.5Z"}\n'
    (project.run / "worker-a.log").write_text(line % ("first", 1) + line % ("third", 3))
    (project.run / "worker-b.log").write_text(line % ("second", 2))
    jobs.request(project.database, "embed")
    said = [line.split()[3] for line in log_of(project, "embed")]
    assert said == ["first", "second", "third"]
