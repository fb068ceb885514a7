"""Several people at once: who gets what in which order, and what becomes of several answers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
import random
import secrets
import time
from typing import Any

import httpx
from playwright.sync_api import Page, Response
import pytest
from sqlalchemy import select

from atlas import rounds
from atlas.labels import training_labels
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.store.tables import AnnotationRow, QueryRow
from atlas.types import Query
from services import steps
from services.annotator import _answer_task, _next_task
from services.label_studio import Login
from tests.live.browser import new_page, open_browser, start_labelling, ticked
from tests.live.conftest import Receiver, Server, open_round, record, tasks_of

pytestmark = pytest.mark.live

BATCH = 20
PATIENCE_S = 60.0


class Person:
    """Somebody with a browser who labels what comes."""

    def __init__(self, page: Page, login: Login, address: str) -> None:
        self.page = page
        self.seen: list[str] = []
        page.on("response", self._notice)
        start_labelling(page, login, address)

    def _notice(self, response: Response) -> None:
        if "id=next_task" in response.url and response.ok:
            self.seen.append(response.json()["data"]["uid"])

    def submit(self) -> None:
        """Accept the guess and wait for the next picture, if there is one."""
        ticked(self.page).first.wait_for()
        before, given = self._picture(), len(self.seen)
        self.page.keyboard.press("Control+Enter")
        until_s = time.monotonic() + PATIENCE_S
        while len(self.seen) == given or self._picture() in ("", before):
            if self.page.get_by_text("No More Tasks Left in Queue").count():
                return
            assert time.monotonic() < until_s, f"no task after {self.seen}"
            self.page.wait_for_timeout(50)

    def _picture(self) -> str:
        shown = self.page.locator(".atlas-picture img")
        return (shown.first.get_attribute("src") or "") if shown.count() else ""


def test_two_people_share_a_round(server: Server, receiver: Receiver, chromium: str) -> None:
    """Each from a fresh browser, by the one address: no task twice, in order for each of them."""
    oracle = LabelStudioOracle(server.home)
    oracle.setup(webhook_url=receiver.url)
    numbers = random.Random(3).sample(range(24), BATCH)
    queries = open_round(server.home, 3, numbers)
    oracle.push(queries)
    wanted = [query.uid for query in queries]
    address = oracle.labelling_url()
    with open_browser(chromium) as browser:
        people = [
            Person(new_page(browser), login, address) for login in (server.admin, server.annotator)
        ]
        for person, uid in zip(people, wanted, strict=False):
            assert person.seen == [uid]  # the first two, not twice the first
            assert "labeling=1" in person.page.url
        for _ in range(BATCH // 2):
            for person in people:
                person.submit()
    given = [[uid for uid in person.seen if uid in wanted] for person in people]
    assert sorted(given[0] + given[1]) == sorted(wanted)  # all of them, each once
    for one in given:
        assert one == sorted(one, key=wanted.index)  # the most wanted first
    assert given == [wanted[0::2], wanted[1::2]]  # in turns
    found = oracle.collect(wanted)
    assert sorted(one.query_uid for one in found) == sorted(wanted)
    assert len({one.annotator for one in found}) == 2


@pytest.fixture
def people(server: Server) -> Iterator[list[httpx.Client]]:
    """The two accounts, as clients of the server."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(client_of(server, login))
            for login in (server.admin, server.annotator)
        ]


def client_of(server: Server, login: Login) -> httpx.Client:
    token = {"Authorization": f"Token {login.token}"}
    return httpx.Client(base_url=server.url, headers=token, timeout=30.0, trust_env=False)


def says(value: str) -> Callable[[dict[str, Any]], dict[str, str]]:
    return lambda data: {"label": value}


def row_of(project: Project, uid: str) -> QueryRow:
    with project.database.reader() as session:
        return session.get_one(QueryRow, uid)


def test_two_answers_to_one_task_are_noticed_and_make_one_label(
    ready: tuple[Project, LabelStudioOracle], people: list[httpx.Client]
) -> None:
    """Label Studio takes a second answer to a task that wants one: from a link to it, say."""
    project, oracle = ready
    (query,) = open_round(project, 1, [0])
    oracle.push([query])
    ann, bob = people
    task = _next_task(ann, oracle._project_id)
    assert task is not None
    _answer_task(ann, task, says("top/shirt"))
    assert _next_task(bob, oracle._project_id) is None  # it is over, and yet:
    _answer_task(bob, task, says("top/coat"))
    record(project, oracle.collect([query.uid]), "poll")
    row = row_of(project, query.uid)
    assert (row.state, row.surplus) == ("answered", 1)
    with project.database.reader() as session:
        assert training_labels(session)[query.image_id] == {"label": "top/coat"}  # the later one
        kept = session.scalars(select(AnnotationRow).where(AnnotationRow.query_uid == query.uid))
        assert [one.values["label"] for one in kept] == ["top/shirt", "top/coat"]


def test_each_image_goes_to_two_people_in_order(
    ready: tuple[Project, LabelStudioOracle], people: list[httpx.Client]
) -> None:
    project, oracle = ready
    queries = overlapping(project, 1, [3, 0, 2], people=2)
    oracle.push(queries)
    oracle.push(queries)  # repeating it changes nothing
    wanted = [query.uid for query in queries]
    ann, bob = people
    seen: dict[str, list[str]] = {"ann": [], "bob": []}
    for _ in wanted:
        for name, client, label in (("ann", ann, "top/shirt"), ("bob", bob, "top/coat")):
            task = _next_task(client, oracle._project_id)
            assert task is not None
            seen[name].append(task["data"]["uid"])
            agreed = task["data"]["uid"] == wanted[0]
            _answer_task(client, task, says("bottom/skirt" if agreed else label))
    assert seen == {"ann": wanted, "bob": wanted}  # everything, in order, each of them once
    assert _next_task(ann, oracle._project_id) is None
    record(project, oracle.collect(wanted), "poll")
    assert [row_of(project, uid).state for uid in wanted] == ["answered"] * 3  # nobody else to ask


def test_a_new_account_is_asked_where_two_disagree(
    server: Server, ready: tuple[Project, LabelStudioOracle], people: list[httpx.Client]
) -> None:
    """Of somebody who has never labelled here; without that account nobody is left to ask."""
    project, oracle = ready
    query, other = overlapping(project, 1, [0, 2], people=2)
    assert rounds.push_round(project, oracle) == 2
    for client, label in zip(people, ("top/shirt", "top/coat"), strict=True):
        task = _next_task(client, oracle._project_id)
        assert task is not None
        _answer_task(client, task, says(label))
    steps.reconcile(project)
    assert row_of(project, query.uid).state == "answered"
    with new_account(people[0]):
        steps.reconcile(project)
    row = row_of(project, query.uid)
    assert (row.state, row.overlap) == ("disputed", 3)
    assert rounds.push_round(project, oracle) == 1
    assert row_of(project, query.uid).state == "pushed"
    (task,) = (one for one in tasks_of(oracle) if one["data"]["uid"] == query.uid)
    assert (task["overlap"], task["is_labeled"]) == (3, False)  # it waits for a third
    for one in people:
        task = _next_task(one, oracle._project_id)
        assert task is not None
        assert task["data"]["uid"] == other.uid  # not once more what they have answered


@contextmanager
def new_account(admin: httpx.Client) -> Iterator[None]:
    """Somebody who has just come, and is gone afterwards."""
    email = f"{secrets.token_hex(4)}@localhost.local"
    made = admin.post("/api/users/", json={"email": email, "username": email})
    made.raise_for_status()
    yield
    admin.delete(f"/api/users/{made.json()['id']}/").raise_for_status()


def overlapping(project: Project, number: int, images: list[int], *, people: int) -> list[Query]:
    """A round whose queries ask several people each."""
    queries = open_round(project, number, images)
    with project.database.session() as session:
        for query in queries:
            session.get_one(QueryRow, query.uid).overlap = people
    return [replace(query, overlap=people) for query in queries]
