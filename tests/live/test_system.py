"""`atlas up` whose parts are killed: the loop goes on, and what ends leaves nothing behind."""

from collections.abc import Callable, Iterator
import json
from pathlib import Path
import signal
import subprocess
from threading import Event, Thread

import httpx
import psutil
import pytest
from sqlalchemy import select

from atlas.pool import ingest
from atlas.project import Project
from atlas.store.tables import AnnotationRow, Meta, Round
from services import label_studio
from services.annotator import annotate_queue
from services.demo import answer_of
from tests.live.embedded import ATLAS, System, copy_project, running, start
from tests.live.patience import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    project_template: Path,
    draw_pool: Callable[..., Path],
) -> Project:
    """Of 40 embedded images and 400 that the worker embeds: enough for some 80 rounds."""
    directory = tmp_path_factory.mktemp("system") / "project"
    told = (("service", "tick_s", 1.0), ("service", "reconcile_s", 3.0))
    project = copy_project(project_template, directory, told)
    ingest(project, draw_pool(directory / "more", per_leaf=100, seed=1), truth="folders")
    return project


@pytest.fixture(scope="module")
def system(project: Project) -> Iterator[System]:
    with running(project) as system:
        yield system


def open_round(system: System) -> int:
    """The number of the open round; 0 between two."""
    return int(system.get("/api/v1/status")["open_round"] or 0)


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


def test_answers_lead_to_the_next_round(system: System, annotator: Thread) -> None:
    wait_until(lambda: len(waits(system)) >= 2, 60.0)
    assert all(0 < wait_s < 15 for wait_s in waits(system))
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
    before = open_round(system)
    system.part("services.api").send_signal(signal.SIGKILL)
    wait_until(lambda: answers(system), 30.0)
    wait_until(lambda: open_round(system) > before + 1, 60.0)


def answers(system: System) -> bool:
    try:
        return bool(system.get("/healthz") == {"status": "ok"})
    except httpx.TransportError:
        return False


def test_a_killed_worker_is_made_good(system: System, annotator: Thread) -> None:
    before = open_round(system)
    system.part("celery", "worker").send_signal(signal.SIGKILL)
    wait_until(lambda: open_round(system) > before + 1, 90.0)
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


def test_sigterm_stops_everything(system: System) -> None:
    system.end_by(signal.SIGTERM)


def test_a_killed_supervisor_leaves_nothing(system: System) -> None:
    again = start(system.project)
    children = psutil.Process(again.process.pid).children(recursive=True)
    again.process.kill()
    again.process.wait()
    assert psutil.wait_procs(children, timeout=5.0)[1] == []
