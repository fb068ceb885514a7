"""One real Label Studio for all live tests, small projects on it, and a real webhook receiver."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
from pathlib import Path
import shutil
import socket
import subprocess
from threading import Event, Thread
import time
from typing import Any

import httpx
from PIL import Image as PilImage
from playwright.sync_api import Browser, Page
import pytest

from atlas import labels
from atlas.errors import ServiceError
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project, write_private
from atlas.settings import LabelStudioSettings, Settings
from atlas.store.tables import Image, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import Annotation, Query
from services import label_studio
from services.annotator import annotate_queue
from tests.live.browser import open_browser, open_page
from tests.servers import missing

TAXONOMY = Taxonomy(
    levels=("kind", "garment"),
    leaves=(
        "top/shirt",
        "top/coat",
        "bottom/skirt",
        "bottom/shorts",
        "footwear/boot",
        "footwear/clog",
    ),
    attributes={"colour": ("red", "green", "blue")},
    quantities=("size",),
)
COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 200)}


@dataclass(frozen=True)
class Server:
    """A running Label Studio; `home` is the project whose pictures it may serve."""

    url: str
    home: Project

    @property
    def admin(self) -> label_studio.Login:
        return label_studio.admin(self.home)

    @property
    def annotator(self) -> label_studio.Login:
        return label_studio.annotator(self.home)

    def client(self) -> httpx.Client:
        """Speaks to the server as the annotator does."""
        headers = {"Authorization": f"Token {self.annotator.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30.0, trust_env=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = Project.create(tmp_path_factory.mktemp("home") / "project", Settings(), TAXONOMY)
    try:
        label_studio.find_command(home)
    except ServiceError as error:
        missing(str(error))
    draw_pool(home, 24)
    port = free_port()
    command, environment = label_studio.command_and_env(home, port)
    url = f"http://127.0.0.1:{port}"
    with (home.run / "label-studio.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        label_studio.wait_until_healthy(url, 600.0, lambda waited_s: None)
        write_private(home.run / "label-studio.json", json.dumps({"url": url, "pid": process.pid}))
        label_studio.ensure_annotator(home, url)
        yield Server(url, home)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def make_project(tmp_path: Path, server: Server) -> Callable[..., Project]:
    """A new Atlas project on the server, with `images` drawn pictures in its pool."""

    def make(images: int = 6, **label_studio_settings: Any) -> Project:
        connection = {"url": server.url, "token": server.admin.token, "images": "inline"}
        settings = Settings(
            name="live test",
            label_studio=LabelStudioSettings(**{**connection, **label_studio_settings}),
        )
        project = Project.create(tmp_path / "project", settings, TAXONOMY)
        draw_pool(project, images)
        return project

    return make


def draw_pool(project: Project, images: int) -> None:
    """Add `images` pictures of 64 × 64: a block of one of three colours on grey."""
    folder = project.directory / "drawn"
    folder.mkdir()
    with project.database.session() as session:
        for number in range(images):
            picture = PilImage.new("RGB", (64, 64), (190, 190, 190))
            colour = list(COLOURS.values())[number % 3]
            picture.paste(colour, (12, 8 + number % 5, 52, 56))
            picture.save(folder / f"{number}.png")
            row = Image(
                id=f"img_{number:016x}",
                sha256=f"{number:064x}",
                location=f"drawn/{number}.png",
                split="pool",
                width=64,
                height=64,
                details={},
                truth={},
            )
            session.add(row)


def open_round(project: Project, number: int, image_numbers: Sequence[int]) -> list[Query]:
    """Record a round that asks about these images, in this order, with a guess each.

    In the database, images of odd numbers are audit images, and blind.
    """
    queries = [
        Query(
            uid=f"{project.secret('uids')[:8]}-r{number}-{image}",
            image_id=f"img_{image:016x}",
            priority=priority,
            location=f"drawn/{image}.png",
            guess={"label": "top/shirt", "colour": "red", "size": "71.4"},
            confidence={"label": 0.41, "colour": 0.9},
            reason="top/shirt and top/coat are nearly tied",
        )
        for priority, image in enumerate(image_numbers)
    ]
    with project.database.session() as session:
        session.add(Round(number=number, state="open", sampler="margin", steps=[]))
        session.flush()
        for query, image in zip(queries, image_numbers, strict=True):
            row = QueryRow(
                uid=query.uid,
                round_number=number,
                image_id=query.image_id,
                kind="audit" if image % 2 else "query",
                state="chosen",
                blind=image % 2 == 1,
                priority=query.priority,
                score=1.0,
                reason=query.reason,
                guess=dict(query.guess),
                confidence=dict(query.confidence),
            )
            session.add(row)
    return queries


def tasks_of(oracle: LabelStudioOracle) -> list[dict[str, Any]]:
    """Every task of the project, read with the SDK's own export."""
    http = httpx.Client(
        base_url=oracle.connection.url,
        headers={"Authorization": f"Token {oracle.connection.token}"},
        trust_env=False,
    )
    with http:
        answer = http.get(
            "/api/tasks",
            params={"project": oracle._project_id, "fields": "all", "page_size": 500},
        )
        return list(answer.raise_for_status().json()["tasks"])


def answer_all(
    server: Server, oracle: LabelStudioOracle, count: int, answer: Any, *, token: str = ""
) -> list[str]:
    """Let the automatic annotator answer `count` tasks; gives the uids in the order asked.

    It works as the person whose `token` is given, or under its own account.
    """
    asked: list[str] = []
    stop = Event()

    def counted(data: dict[str, Any]) -> Any:
        asked.append(data["uid"])
        if len(asked) == count:
            stop.set()
        return answer(data)

    token = token or server.annotator.token
    assert annotate_queue(server.url, token, oracle._project_id, counted, stop=stop) == count
    return asked


def record(project: Project, annotations: list[Annotation], received_by: str) -> int:
    with project.database.session() as session:
        return labels.record(
            session, annotations, received_by=received_by, taxonomy=project.taxonomy
        )


@dataclass(frozen=True)
class Receiver:
    """Takes webhook calls and keeps them."""

    url: str
    calls: list[tuple[dict[str, str], dict[str, Any]]]

    def wait_for(self, count: int, timeout_s: float = 5.0) -> list[dict[str, Any]]:
        deadline = time.monotonic() + timeout_s
        while len(self.calls) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.calls) == count
        return [payload for _, payload in self.calls]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    calls: list[tuple[dict[str, str], dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append((dict(self.headers), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    yield Receiver(f"http://127.0.0.1:{httpd.server_port}/label-studio/webhook", calls)
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def ready(
    make_project: Callable[..., Project], receiver: Receiver
) -> tuple[Project, LabelStudioOracle]:
    """A project of six images that is set up in Label Studio."""
    project = make_project()
    oracle = LabelStudioOracle(project)
    oracle.setup(webhook_url=receiver.url)
    return project, oracle


@pytest.fixture(scope="session")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("there is no chromium; install it with `apt-get install chromium`")
    return str(path)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for the tests of a file; each opens pages of its own."""
    with open_browser(chromium) as opened:
        yield opened


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with open_page(chromium) as opened:
        yield opened
