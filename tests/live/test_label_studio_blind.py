"""What a browser receives of an audit image and of a blind query differs in nothing that tells.

A real round: chosen by the sampler, pushed, scored anew after a label, read as an annotator reads.
"""

from collections import defaultdict
from pathlib import Path
import re
import shutil
import time
from typing import Any

from playwright.sync_api import Page, Response, expect
import pytest
from rounds_support import go_round, queries, say

from atlas.batches import Ask
from atlas.oracle._rescore import LabelStudioQueue
from atlas.project import Project
from atlas.rescoring import rescore
from atlas.rounds import open_round, push_round
from atlas.settings_file import change_setting
from atlas.store.tables import QueryRow
from tests.live.browser import start_labelling, ticked
from tests.live.conftest import Receiver, Server

pytestmark = pytest.mark.live

ROUND = 2
PATIENCE_S = 120.0
WHICH_ONE = {  # says which task it is or when something was done with it, as of every task
    *("id", "inner_id", "task", "uid", "image_id", "image", "score", "predictions_score"),
    *("created_at", "updated_at", "created_ago", "unique_lock_id"),
}
TOLD = "Chosen by Atlas: to be answered without a guess, so that nothing sways you"


@pytest.fixture
def asked(
    tmp_path: Path, project_template: Path, server: Server, receiver: Receiver
) -> tuple[Project, LabelStudioQueue]:
    """Round 2 of a project on the server: 10 queries, of them 4 blind, and 4 audit images."""
    shutil.copytree(project_template, tmp_path / "project")
    for key, value in (("url", server.url), ("token", server.admin.token), ("images", "inline")):
        change_setting(tmp_path / "project", "label_studio", key, value)
    project = Project(tmp_path / "project")
    go_round(project)
    open_round(project, Ask(n=10))
    oracle = LabelStudioQueue(project)
    oracle.setup(webhook_url=receiver.url)
    assert push_round(project, oracle) == 14
    return project, oracle


def rows_of(project: Project) -> list[QueryRow]:
    return [*queries(project, ROUND), *queries(project, ROUND, "audit")]


def masked(value: Any) -> Any:
    """JSON without what says which task it is."""
    if isinstance(value, dict):
        return {
            key: type(one).__name__ if key in WHICH_ONE else masked(one)
            for key, one in sorted(value.items())
        }
    return [masked(one) for one in value] if isinstance(value, list) else value


def received(server: Server, oracle: LabelStudioQueue, row: QueryRow) -> dict[str, Any]:
    """What each of the server's doors gives an annotator of one task."""
    number, task = oracle._project_id, int(str(row.task_id))
    with server.client() as client:

        def get(path: str, **params: Any) -> Any:
            return client.get(path, params=params).raise_for_status().json()

        listed = get("/api/tasks/", project=number, fields="all", page_size=100)["tasks"]
        return {
            "opened": get(f"/api/tasks/{task}/"),
            "listed": next(one for one in listed if one["id"] == task),
            "guesses": get("/api/predictions/", task=task),
            "answers": get(f"/api/tasks/{task}/annotations/"),
        }


def told_apart(server: Server, project: Project, oracle: LabelStudioQueue) -> None:
    """Fail where anything but which task it is differs between blind images of the two kinds."""
    seen: dict[str, set[str]] = defaultdict(set)
    for row in rows_of(project):
        if row.blind and row.state == "pushed":
            found = received(server, oracle, row)
            seen[row.kind].add(repr(masked(found)))
            assert found["opened"]["data"]["reason"] == TOLD
            assert {len(guess["result"]) for guess in found["guesses"]} == {0}
    assert len(seen["query"]) == 1
    assert seen["query"] == seen["audit"]


def test_no_door_of_the_server_tells_an_audit_image_from_a_blind_query(
    asked: tuple[Project, LabelStudioQueue], server: Server
) -> None:
    project, oracle = asked
    rows = rows_of(project)
    assert [sum(row.blind and row.kind == kind for row in rows) for kind in ("query", "audit")] == [
        4,
        4,
    ]
    told_apart(server, project, oracle)
    guessed = next(row for row in rows if not row.blind)
    found = received(server, oracle, guessed)
    assert found["opened"]["data"]["reason"] == f"Chosen by Atlas: {guessed.reason}" != TOLD
    assert [len(guess["result"]) for guess in found["guesses"]] == [1]
    before = {row.uid: row.priority for row in rows if row.blind}
    say(project, [guessed], "submitted", label="round/ball")
    assert rescore(project, oracle)["waiting"] == 13
    told_apart(server, project, oracle)
    assert {row.uid: row.priority for row in rows_of(project) if row.blind} == before
    found = received(server, oracle, next(row for row in rows if row.blind))
    assert len(found["guesses"]) == 2  # one a turn, as of every other task, and empty


def written_on(page: Page) -> str:
    """All text, without numbers and what the page says for a while of the answer before."""
    lines = page.locator("body").inner_text().splitlines()
    kept = [line for line in lines if "Annotation saved successfully" not in line]
    return re.sub(r"[0-9]+", "N", "\n".join(kept))


def test_the_page_shows_the_same_of_both(
    asked: tuple[Project, LabelStudioQueue], server: Server, page: Page
) -> None:
    """All 14 in the order of the stream: what is written on the page and comes over the wire."""
    project, oracle = asked
    rows = {row.uid: row for row in rows_of(project)}
    wire: list[tuple[str, str]] = []

    def note(response: Response) -> None:
        """Keep every answer that holds a task of Atlas."""
        if not response.ok or "json" not in response.headers.get("content-type", ""):
            return
        found = response.json()
        data = found.get("data") if isinstance(found, dict) else None
        if isinstance(data, dict) and "uid" in data:
            door = re.sub(r"[0-9]+", "N", response.url)
            wire.append((data["uid"], f"{door} {masked(found)}"))

    page.on("response", note)
    start_labelling(page, server.annotator, oracle.labelling_url())
    came: list[str] = []
    shown: dict[str, set[str]] = defaultdict(set)
    picture = ""
    for _ in rows:
        until_s = time.monotonic() + PATIENCE_S
        while wire[-1][0] in came or picture_on(page) in ("", picture):
            assert time.monotonic() < until_s, f"no task after {came}"
            page.wait_for_timeout(50)
        picture = picture_on(page)
        row = rows[wire[-1][0]]
        came.append(row.uid)
        page.get_by_text("Chosen by Atlas").wait_for()
        if not row.blind:
            ticked(page).first.wait_for()  # the guess
        else:
            expect(ticked(page)).to_have_count(0)
            shown[row.kind].add(written_on(page))
        while ticked(page).count() == 0:  # a guess is ticked already
            assert time.monotonic() < until_s, "no key chooses anything"
            page.keyboard.press("1")
            page.wait_for_timeout(700)
        page.keyboard.press("Control+Enter")
    page.remove_listener("response", note)  # what comes while the page closes cannot be read
    assert [rows[uid].priority for uid in came] == list(range(14))
    assert len(shown["query"]) == 1
    assert shown["query"] == shown["audit"]
    assert TOLD in shown["query"].pop()
    told = {
        kind: {text for uid, text in wire if rows[uid].blind and rows[uid].kind == kind}
        for kind in ("query", "audit")
    }
    assert len(told["query"]) >= 1
    assert told["query"] == told["audit"]


def picture_on(page: Page) -> str:
    shown = page.locator(".atlas-picture img")
    return (shown.first.get_attribute("src") or "") if shown.count() else ""
