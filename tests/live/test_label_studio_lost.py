"""Label Studio did it, and the answer got lost on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from atlas.errors import OracleUnreachable
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from tests.live.conftest import Server, open_round

pytestmark = pytest.mark.live


@dataclass
class Line:
    """A connection to the server that breaks when told.

    Attributes:
        lose_answers_to: requests whose path ends so are passed on, their answers are not.
        lose_requests_to: these are not even passed on.
    """

    url: str = ""
    lose_answers_to: str = "nothing"
    lose_requests_to: str = "nothing"
    passed_on: list[str] = field(default_factory=list)


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    line = Line()

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            path = self.path.partition("?")[0]
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if path.endswith(line.lose_requests_to):
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            url = server.url + self.path
            with httpx.Client(trust_env=False, timeout=30.0) as client:
                answer = client.request(self.command, url, content=body, headers=headers)
            line.passed_on.append(f"{self.command} {path}")
            if path.endswith(line.lose_answers_to):
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = do_DELETE = forward

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    line.url = f"http://127.0.0.1:{httpd.server_port}"
    yield line
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def imports(line: Line) -> int:
    return sum(request.endswith("/import") for request in line.passed_on)


def test_a_lost_answer_to_the_import_makes_no_duplicate(
    line: Line, make_project: Callable[..., Project]
) -> None:
    project = make_project(url=line.url)
    oracle = LabelStudioOracle(project)
    oracle.setup(webhook_url="http://127.0.0.1:9/label-studio/webhook")
    queries = open_round(project, 1, [0, 1, 2])
    line.lose_answers_to = "/import"
    pushed = oracle.push(queries)
    assert len(pushed) == 3
    assert imports(line) == 1  # it was not repeated, neither here nor by the SDK
    assert len(oracle._api.changed_tasks(oracle._project_id, None)) == 3


def test_a_lost_import_is_an_error_and_repeating_it_works(
    line: Line, make_project: Callable[..., Project]
) -> None:
    project = make_project(url=line.url)
    oracle = LabelStudioOracle(project)
    oracle.setup(webhook_url="http://127.0.0.1:9/label-studio/webhook")
    queries = open_round(project, 1, [0, 1, 2])
    line.lose_requests_to = "/import"
    with pytest.raises(OracleUnreachable):
        oracle.push(queries)
    assert oracle._api.changed_tasks(oracle._project_id, None) == []
    line.lose_requests_to = "nothing"
    assert len(oracle.push(queries)) == 3
    assert len(oracle._api.changed_tasks(oracle._project_id, None)) == 3
