"""`atlas up` and a person: log in as it says, label with keys, and the label is in the next model.

One running `atlas up` for the whole file; the last test ends it with Ctrl-C.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import re
import shutil
import signal
import socket
import time
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Page, expect
import psutil
import pytest
from sqlalchemy import select

from atlas.errors import ServiceError
from atlas.labels import training_labels
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import AnnotationRow, Image, ModelRow, QueryRow, Round
from services import label_studio
from services.demo import answer_of
from services.label_studio import Login
from tests.live.browser import start_labelling, ticked
from tests.live.conftest import Server, answer_all, tasks_of
from tests.live.test_system import AUDIT, BATCH, System, start, wait_until
from tests.servers import missing

pytestmark = [pytest.mark.live, pytest.mark.slow]

SUBMIT_TO_DATABASE_S = 2.0
STOP_S = 10.0
KEYS = {"round/ball": "1", "round/ring": "2", "angular/box": "3", "angular/cross": "4"}


@dataclass(frozen=True)
class Printed:
    """What `atlas up` told the person."""

    labelling_url: str
    login: Login
    dashboard: str


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, project_template: Path) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("by-hand") / "project"
    shutil.copytree(project_template, directory)
    for section, key, value in (
        ("service", "port", 0),
        ("service", "tick_s", 1.0),
        ("service", "reconcile_s", 60.0),  # so that no poll brings what the webhook should
        ("label_studio", "port", 0),
    ):
        change_setting(directory, section, key, value)
    project = Project(directory)
    try:
        label_studio.find_command(project)
    except ServiceError as error:
        missing(str(error))
    running = start(project)
    yield running
    running.process.terminate()
    running.process.wait(timeout=30)


@pytest.fixture(scope="module")
def printed(system: System) -> Printed:
    text = (system.project.run / "up.log").read_text(encoding="utf-8")
    found = re.search(
        r"^label here +(\S+)\n +log in as +(\S+) +password (\S+)\ndashboard +(\S+)$", text, re.M
    )
    assert found is not None, text
    labelling_url, email, password, dashboard = found.groups()
    return Printed(labelling_url, Login(email, password, token=""), dashboard)


def test_it_prints_addresses_that_answer(system: System, printed: Printed) -> None:
    assert httpx.get(printed.dashboard, trust_env=False).status_code == 200
    page = httpx.get(printed.labelling_url, trust_env=False, follow_redirects=True)
    assert page.url.path == "/user/login/"  # nobody gets in without the login


def test_a_label_given_by_hand_is_learned(system: System, printed: Printed, page: Page) -> None:
    project = system.project
    wait_until(lambda: len(queue(project, 1)) == AUDIT + BATCH, 60.0)
    asked = queue(project, 1)
    start_labelling(page, printed.login, printed.labelling_url)
    page.screenshot(path=project.run / "labelling.png")

    # Audit images stand between the queries and look the same; answer up to the first query.
    number = next(i for i, query in enumerate(asked) if query.kind == "query")
    truth = truths(project)
    for query in asked[:number]:
        assert submit(page, project, truth[query.image_id]).query_uid == query.uid
    first = asked[number]
    # A wrong answer on purpose: it can have come from nobody but this person.
    by_hand = next(leaf for leaf in KEYS if leaf != truth[first.image_id])
    annotation = submit(page, project, by_hand)
    assert annotation.query_uid == first.uid
    assert annotation.values == {"label": by_hand}
    assert annotation.annotator == "ls:1"  # the first account of this Label Studio: the printed one

    # The rest is answered under the same account, to which the task now on the page is reserved.
    oracle = LabelStudioOracle(project)
    server = Server(system.url("label-studio"), project)
    rest = len(asked) - number - 1
    answered = answer_all(server, oracle, rest, answer_of(project), token=server.admin.token)
    assert answered == [query.uid for query in asked[number + 1 :]]

    wait_until(lambda: len(queue(project, 2)) == len(asked), 60.0)
    with project.database.reader() as session:
        closed = session.get_one(Round, 1)
        model = session.get_one(ModelRow, closed.model_id)
        labels = training_labels(session)
        assert closed.state == "closed"
        assert closed.label_to_queue_s is not None and closed.label_to_queue_s > 0
    assert model.labels == BATCH == len(labels)  # audit labels are not learned from
    assert labels[first.image_id] == {"label": by_hand}
    assert {file.suffix for file in (project.models / model.id).iterdir()} == {
        ".json",
        ".safetensors",
    }
    in_label_studio = {task["data"]["uid"] for task in tasks_of(oracle)}
    assert in_label_studio == {query.uid for query in [*asked, *queue(project, 2)]}


def test_the_dashboard_shows_accuracy_per_level(
    system: System, printed: Printed, page: Page
) -> None:
    page.goto(printed.dashboard)
    measured = system.get("/api/v1/accuracy")
    cards = page.locator(".tile")
    expect(cards).to_have_count(len(measured))
    for number, (level, found) in enumerate(measured.items()):
        assert found["n"] == AUDIT
        expect(cards.nth(number)).to_contain_text(level)
        expect(cards.nth(number)).to_contain_text(f"{found['accuracy']:.1%}")
        expect(cards.nth(number)).to_contain_text(f"{found['low']:.1%} to {found['high']:.1%}")
    start = httpx.get(printed.labelling_url, trust_env=False).headers["location"]
    expect(page.get_by_role("link", name="Label images")).to_have_attribute("href", start)
    page.screenshot(path=system.project.run / "dashboard.png", full_page=True)


def test_ctrl_c_stops_everything(system: System, printed: Printed) -> None:
    children = psutil.Process(system.process.pid).children(recursive=True)
    assert len(children) >= 4  # Label Studio, API, worker, schedule
    addresses = (system.url("label-studio"), printed.dashboard)
    started_s = time.monotonic()
    system.process.send_signal(signal.SIGINT)
    assert system.process.wait(timeout=STOP_S) == 0
    assert psutil.wait_procs(children, timeout=1.0)[1] == []
    for url in addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", urlsplit(url).port))  # fails where somebody listens
    assert time.monotonic() - started_s < STOP_S
    text = (system.project.run / "up.log").read_text(encoding="utf-8")
    assert text.rstrip().endswith("stopped; what was finished is kept")


def queue(project: Project, number: int) -> list[QueryRow]:
    """The queries of a round that Label Studio has, in the order in which it asks."""
    with project.database.reader() as session:
        pushed = select(QueryRow).where(
            QueryRow.round_number == number, QueryRow.task_id.is_not(None)
        )
        return list(session.scalars(pushed.order_by(QueryRow.priority)))


def truths(project: Project) -> dict[str, str]:
    """Image → its leaf."""
    with project.database.reader() as session:
        return {image.id: image.truth["label"] for image in session.scalars(select(Image))}


def tick(page: Page, leaf: str) -> None:
    """Press the key of the leaf, once more where the page was not ready for it, as a person does.

    The task before must be gone: none is ticked, since round 1 has no guesses.
    """
    expect(ticked(page)).to_have_count(0)
    page.locator(".atlas-picture img").first.wait_for()
    until_s = time.monotonic() + 10.0
    while ticked(page).count() == 0:
        assert time.monotonic() < until_s, f"the key {KEYS[leaf]} chooses nothing"
        page.keyboard.press(KEYS[leaf])
        page.wait_for_timeout(700)
    expect(ticked(page)).to_have_text([f"{leaf.rpartition('/')[2]}[{KEYS[leaf]}]"])


def submit(page: Page, project: Project, leaf: str) -> AnnotationRow:
    """Choose with the key, press Ctrl+Enter; the row, which must be there in time."""
    before = len(annotations(project))
    tick(page, leaf)
    submitted_s = time.monotonic()
    page.keyboard.press("Control+Enter")
    while len(found := annotations(project)) == before:
        assert time.monotonic() - submitted_s < SUBMIT_TO_DATABASE_S
        time.sleep(0.02)
    assert len(found) == before + 1
    assert found[-1].received_by == "webhook"
    return found[-1]


def annotations(project: Project) -> list[AnnotationRow]:
    """Every annotation so far, in the order of arrival."""
    with project.database.reader() as session:
        return list(session.scalars(select(AnnotationRow).order_by(AnnotationRow.id)))
