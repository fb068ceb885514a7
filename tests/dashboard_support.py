"""What tests of the pages share: signing in, and reading HTML without a browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
import socket
import threading
import time

from fastapi.testclient import TestClient
import uvicorn

from atlas import tokens
from atlas.project import Project
from atlas.store.tables import Job
from atlas.tokens import Role
from services.api import create_app

VOID = {"meta", "link", "input", "br", "img", "hr"}


def token(project: Project, role: Role = Role.ENGINEER, *, name: str = "Ada") -> str:
    with project.database.session() as session:
        return tokens.create(session, role, name=name).token


def sign_in(client: TestClient, given: str, *, target: str = "/") -> int:
    fields = {"token": given, "next": target}
    return client.post("/sign-in", data=fields, follow_redirects=False).status_code


def form_token(client: TestClient, path: str) -> str:
    """The token that the forms of a page carry; "" where there is none."""
    found = [one for one in Page(client.get(path).text).all("input") if one.get("name") == FORM]
    return found[0]["value"] if found else ""


FORM = "form_token"


def send(client: TestClient, path: str, page: str, **fields: str) -> tuple[int, str]:
    """Send a form as the page would; its status and where it leads, or what the page says."""
    data = {FORM: form_token(client, page), **fields}
    answer = client.post(path, data=data, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", answer.text)


def add_job(project: Project, kind: str, **values: object) -> None:
    row = {"key": "", "state": "failed", "arguments": {}, "progress": {}, **values}
    with project.database.session() as session:
        session.merge(Job(id=kind, kind=kind, **row))


class Page(HTMLParser):
    """The elements of a page in order, each with its attributes and its own text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[dict[str, str]] = []
        self.unclosed: list[str] = []
        self._open: list[dict[str, str]] = []
        self.feed(html)
        self.unclosed += [one["tag"] for one in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {key: value or "" for key, value in attrs}
        element.update(tag=tag, text="", within=" ".join(one["tag"] for one in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1]["tag"] != tag:
            self.unclosed.append(tag)
            return
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for one in self._open:
            one["text"] += data

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [one for one in self.elements if one["tag"] in tags]


def faults(html: str) -> list[str]:
    """What of a page a keyboard or a screen reader would stumble over."""
    page = Page(html)
    found = [f"{tag} is not closed" for tag in page.unclosed]
    ids = [one["id"] for one in page.elements if "id" in one]
    found += [f"two ids {one}" for one in sorted({one for one in ids if ids.count(one) > 1})]
    ranks = [int(one["tag"][1]) for one in page.all("h1", "h2", "h3", "h4")]
    if ranks[:1] != [1] or ranks.count(1) != 1:
        found.append(f"headings {ranks}: expected one h1, first")
    found += [
        f"heading {later} after {earlier}"
        for earlier, later in zip(ranks, ranks[1:], strict=False)
        if later > earlier + 1
    ]
    labelled = {one["for"] for one in page.all("label") if "for" in one}
    for one in page.all("input", "select", "textarea"):
        if one.get("type") not in ("hidden", "submit") and one.get("id") not in labelled:
            if "aria-label" not in one and "label" not in one["within"].split():
                found.append(f"field {one.get('name')} has no label")
    for one in page.elements:
        for key in ("aria-labelledby", "aria-describedby", "aria-errormessage"):
            found += [f"{key} {name}?" for name in one.get(key, "").split() if name not in ids]
    for one in page.all("a", "button"):
        if not (one["text"].strip() or one.get("aria-label")):
            found.append(f"{one['tag']} {one.get('href', '')} says nothing")
    found += [
        f"{one['tag']} without a name in {one['within']}"
        for one in page.elements
        if one["tag"] == "table" or one.get("role") in ("img", "region", "application")
        if not ("aria-label" in one or "aria-labelledby" in one)
    ]
    found += ["a picture without alt" for one in page.all("img") if "alt" not in one]
    found += [f"th without scope: {one['text']}" for one in page.all("th") if "scope" not in one]
    found += ["a column without a title" for one in page.all("th") if not one["text"].strip()]
    found += [
        f"progress without a name in {one['within']}"
        for one in page.all("progress")
        if "aria-label" not in one
    ]
    if not page.all("html")[0].get("lang") or not page.all("title")[0]["text"].strip():
        found.append("no language or no title")
    return found


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of the pages of a project, served for the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = uvicorn.Config(
        create_app(directory), "127.0.0.1", port, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it began"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
