"""Pictures of slow servers: they take no longer than said, and no more places than there are."""

from collections.abc import Iterator
from contextlib import contextmanager
import socket
from threading import Thread
import time
from typing import Any

import pytest

from atlas.project import Project
from atlas.settings_file import change_setting
from services.api import fetching
from services.predicting import WAITING
from tests.api_support import client_of

HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[tuple[str, list[Any]]]:
    """A server that sends a drop every tenth of a second: its host, and who came."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                there, who = listening.accept()
                came.append(who)
                with there:
                    there.sendall(head)
                    while True:
                        there.sendall(drop)
                        time.sleep(0.1)
            except OSError:
                return  # the other end is gone, or the test is over

        thread = Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", came
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("head", "drop"),
    [(HEAD, b"X-A: a\r\n"), (HEAD + b"Content-Length: 9999\r\n\r\n", b"x")],
    ids=["in its headers", "in its body"],
)
def test_a_picture_has_one_time_limit(
    empty_project: Project, monkeypatch: pytest.MonkeyPatch, head: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 1.0)
    with dripping(head, drop) as (host, _):
        change_setting(empty_project.directory, "service", "picture_hosts", [host])
        with client_of(empty_project) as client:
            began = time.monotonic()
            answer = client.post("/api/v1/predict", json={"urls": [f"http://{host}/a.png"]})
    assert answer.status_code == 422
    assert answer.json()["error"] == f"http://{host}/a.png did not arrive within 1 s"
    assert time.monotonic() - began < 5


def test_nothing_is_fetched_where_no_place_is_left(empty_project: Project) -> None:
    with dripping(HEAD, b"X-A: a\r\n") as (host, came):
        change_setting(empty_project.directory, "service", "picture_hosts", [host])
        with client_of(empty_project) as client:
            app: Any = client.app
            for _ in range(WAITING):
                app.state.predicting._places.acquire(blocking=False)
            answer = client.post("/api/v1/predict", json={"urls": [f"http://{host}/a.png"]})
    assert (answer.status_code, came) == (503, [])
