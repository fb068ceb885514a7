"""`atlas up` as a user starts it: every part real, parts killed, the loop goes on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from threading import Event, Thread
import time
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import select

from atlas.errors import ServiceError
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import AnnotationRow, Meta, Round
from services import label_studio
from services.annotator import annotate_queue
from services.demo import answer_of
from tests.servers import missing

pytestmark = [pytest.mark.live, pytest.mark.slow]

ATLAS = str(Path(sys.executable).with_name("atlas"))
AUDIT, BATCH = 4, 4  # a round asks 8 questions: `settings` of the root conftest


def wait_until(condition: Callable[[], Any], timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"still not so after {timeout_s} s"
        time.sleep(0.1)


@dataclass
class System:
    """A running `atlas up`."""

    project: Project
    process: subprocess.Popen[str]

    def url(self, name: str) -> str:
        path = self.project.directory / "run" / f"{name}.json"
        return str(json.loads(path.read_text())["url"])

    def get(self, path: str) -> Any:
        return httpx.get(self.url("api") + path, trust_env=False, timeout=10.0).json()

    def open_round(self) -> int | None:
        number: int | None = self.get("/api/v1/status")["open_round"]
        return number

    def part(self, *words: str) -> psutil.Process:
        """The child whose command holds all of `words`."""
        children = psutil.Process(self.process.pid).children()
        (found,) = [one for one in children if set(words) <= set(one.cmdline())]
        return found


def start(project: Project) -> System:
    with (project.run / "up.log").open("w") as log:
        process = subprocess.Popen(
            [ATLAS, "up", str(project.directory)], stdout=log, stderr=log, text=True
        )
    log_file = project.run / "up.log"
    wait_until(lambda: "dashboard" in log_file.read_text() or process.poll() is not None, 240.0)
    assert process.poll() is None, log_file.read_text()
    return System(project, process)


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory,
    project_template: Path,
    draw_pool: Callable[..., Path],
) -> Iterator[System]:
    """On 40 embedded images and 400 that the worker embeds: enough for some 80 rounds."""
    directory = tmp_path_factory.mktemp("system") / "project"
    shutil.copytree(project_template, directory)
    for section, key, value in (
        ("service", "port", 0),
        ("service", "tick_s", 1.0),
        ("service", "reconcile_s", 3.0),
        ("label_studio", "port", 0),
    ):
        change_setting(directory, section, key, value)
    project = Project(directory)
    try:
        label_studio.find_command(project)
    except ServiceError as error:
        missing(str(error))
    ingest(project, draw_pool(directory / "more", per_leaf=100, seed=1), truth="folders")
    running = start(project)
    yield running
    running.process.terminate()
    running.process.wait(timeout=30)


@pytest.fixture
def annotator(system: System) -> Iterator[Thread]:
    """Answers the queue with the truth while the test runs."""
    url, stop = system.url("label-studio"), Event()
    with system.project.database.reader() as session:
        number = int(session.get_one(Meta, "label_studio_project").value)

    def annotate() -> None:
        login = label_studio.ensure_annotator(system.project, url)
        annotate_queue(url, login.token, number, answer_of(system.project), stop=stop)

    thread = Thread(target=annotate)
    thread.start()
    yield thread
    stop.set()
    thread.join()


def test_the_first_round_is_in_the_queue(system: System) -> None:
    wait_until(lambda: system.open_round() == 1, 30.0)
    wait_until(lambda: system.get("/api/v1/rounds")[0]["waiting"] == AUDIT + BATCH, 30.0)
    page = httpx.get(system.url("api"), trust_env=False).text
    assert f'href="{system.url("label-studio")}/' in page
    assert "answered in round 1" in page
    door = httpx.get(f"{system.url('api')}/label", trust_env=False)
    assert door.status_code == 303
    assert door.headers["location"].startswith(system.url("label-studio"))


def test_answers_lead_to_the_next_round(system: System, annotator: Thread) -> None:
    wait_until(lambda: len(waits(system)) >= 2, 60.0)
    assert all(0 < wait_s < 15 for wait_s in waits(system))
    rounds = system.get("/api/v1/rounds")
    assert [one["labels"] for one in rounds[:2]] == [BATCH, 2 * BATCH]
    # 4 audit images in each of two rounds
    assert [one["accuracy"]["shape"]["n"] for one in rounds[:2]] == [AUDIT, 2 * AUDIT]
    with system.project.database.reader() as session:
        by = set(session.scalars(select(AnnotationRow.received_by)))
        labelled = session.scalars(select(AnnotationRow.external_id)).all()
    assert "webhook" in by
    assert len(labelled) == len(set(labelled))


def waits(system: System) -> list[float]:
    """Seconds from the last label of each round to the queue of the next."""
    found = [one["label_to_queue_s"] for one in system.get("/api/v1/rounds")]
    return [wait_s for wait_s in found if wait_s is not None]


def test_a_killed_api_comes_back_and_what_it_missed_is_found(
    system: System, annotator: Thread
) -> None:
    before = system.open_round() or 0
    system.part("services.api").send_signal(signal.SIGKILL)
    wait_until(lambda: answers(system), 30.0)
    wait_until(lambda: (system.open_round() or 0) > before + 1, 60.0)


def answers(system: System) -> bool:
    try:
        return bool(system.get("/healthz") == {"status": "ok"})
    except httpx.TransportError:
        return False


def test_a_killed_worker_is_made_good(system: System, annotator: Thread) -> None:
    before = system.open_round() or 0
    system.part("celery", "worker").send_signal(signal.SIGKILL)
    wait_until(lambda: (system.open_round() or 0) > before + 1, 90.0)
    with system.project.database.reader() as session:
        numbers = session.scalars(select(Round.number).order_by(Round.number)).all()
    assert list(numbers) == list(range(1, len(numbers) + 1))


def test_a_second_up_on_the_folder_is_refused(system: System) -> None:
    second = subprocess.run(
        [ATLAS, "up", str(system.project.directory)], capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert f"already runs on {system.project.directory} (process {system.process.pid})" in (
        second.stderr.replace("\n", " ")
    )


def test_secrets_are_for_the_owner_alone(system: System) -> None:
    directory = system.project.directory
    assert (directory / "secrets.json").stat().st_mode & 0o777 == 0o600
    secrets = json.loads((directory / "secrets.json").read_text())
    logs = "".join(path.read_text(errors="replace") for path in (directory / "run").glob("*.log"))
    assert secrets["label_studio_token"] not in logs
    assert secrets["webhook_secret"] not in logs


def test_sigterm_stops_everything_within_ten_seconds(system: System) -> None:
    children = psutil.Process(system.process.pid).children(recursive=True)
    assert len(children) >= 4
    started_s = time.monotonic()
    system.process.terminate()
    assert system.process.wait(timeout=15) == 0
    assert time.monotonic() - started_s < 10.0
    assert psutil.wait_procs(children, timeout=1.0)[1] == []


def test_a_killed_supervisor_leaves_nothing(system: System) -> None:
    again = start(system.project)
    children = psutil.Process(again.process.pid).children(recursive=True)
    again.process.kill()
    again.process.wait()
    assert psutil.wait_procs(children, timeout=5.0)[1] == []
