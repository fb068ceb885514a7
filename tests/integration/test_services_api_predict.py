"""Predictions by HTTP, from the process that makes them; and the labels as files."""

from collections.abc import Iterator
import csv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
import json
import os
from pathlib import Path
import signal
from threading import Thread
from typing import Any

from fastapi.testclient import TestClient
import pytest
from sqlalchemy import select

from atlas.export import export_labels
from atlas.project import Project
from atlas.serving import project_predictor
from atlas.settings_file import change_setting
from atlas.store.tables import AnnotationRow, Image, QueryRow
from atlas.tokens import Role
from services import predicting
from services.api import fetching, predict
from services.predicting import WAITING
from tests.api_support import client_of, go_round

PATH = "/api/v1/predict"


@pytest.fixture
def taught(project: Project) -> Project:
    """With a model."""
    go_round(project)
    return project


def images(project: Project, count: int) -> list[Image]:
    with project.database.reader() as session:
        found = list(session.scalars(select(Image).order_by(Image.id).limit(count)))
        session.expunge_all()
    return found


@pytest.fixture
def pictures() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A real server of pictures: its host, and what it has under which path."""
    shelf: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/a.png")
            else:
                self.send_response(200 if self.path in shelf else 404)
            self.end_headers()
            self.wfile.write(shelf.get(self.path, b""))

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=httpd.serve_forever)
    thread.start()
    yield f"127.0.0.1:{httpd.server_port}", shelf
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_bytes_ids_and_addresses_give_what_the_model_says(
    taught: Project, pictures: tuple[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "TIMEOUT_S", 500)  # a busy machine loads torch for minutes
    host, shelf = pictures
    change_setting(taught.directory, "service", "picture_hosts", [host])
    first, second = images(taught, 2)
    locations = [taught.absolute(one.location) for one in (first, second)]
    content = Path(locations[0]).read_bytes()
    shelf["/a.png"] = content
    wanted = project_predictor(taught).predict(locations)
    with client_of(taught, Role.VIEWER) as client:
        sent = client.post(PATH, content=content, headers={"Content-Type": "image/png"})
        assert sent.status_code == 200
        assert sent.json()["model"] == "m0001"
        assert sent.json()["predictions"] == [{**wanted[0], "image": "sent"}]
        url = f"http://{host}/a.png"
        named = {"images": [first.id, second.id], "urls": [url]}
        found = client.post(PATH, json=named).json()["predictions"]
        assert [one["image"] for one in found] == [first.id, second.id, url]
        for one, known in zip(found, [*wanted, wanted[0]], strict=True):
            assert one["tasks"].keys() == known["tasks"].keys()
            for task, ranked in known["tasks"].items():
                assert one["tasks"][task][0] == pytest.approx(ranked[0], abs=1e-3)
        go_round(taught)  # another model answers from now on
        later = client.post(PATH, json={"images": [first.id]}).json()
        assert later["model"] == "m0002"
        kill_the_process(client)
        again = client.post(PATH, content=b"no picture")
        assert (again.status_code, "cannot decode" in again.text) == (422, True)  # by a new one


def kill_the_process(client: TestClient) -> None:
    """As the kernel does where memory runs out."""
    app: Any = client.app
    process = app.state.predicting._process
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_what_is_no_picture_is_refused(taught: Project) -> None:
    with client_of(taught) as client:
        broken = client.post(PATH, content=b"no picture")
        assert (broken.status_code, "cannot decode sent" in broken.json()["error"]) == (422, True)
        app: Any = client.app
        assert app.state.predicting._process.is_alive()  # and goes on
        wrong = {"images": ["img_none"]}
        assert client.post(PATH, json=wrong).status_code == 404


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://169.254.169.254/latest/meta-data", "its host must be in service.picture_hosts"),
        ("http://127.0.0.1/a.png", "its host must be in"),
        ("http://HOST@elsewhere.example/a.png", "its host must be in"),
        ("file:///etc/passwd", "its host must be in"),
        ("/etc/passwd", "its host must be in"),
        ("http://a:1:80/x", "cannot read the address"),
        ("http://HOST/none.png", "it answers 404"),
        ("http://HOST/moved", "it answers 302"),
        ("http://HOST/large.png", "is larger than 0 MiB"),
    ],
)
def test_only_pictures_of_named_hosts_are_fetched(
    url: str,
    said: str,
    empty_project: Project,
    pictures: tuple[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, shelf = pictures
    shelf["/large.png"] = 2001 * b"x"
    monkeypatch.setattr(fetching, "MAX_BYTES", 2000)
    change_setting(empty_project.directory, "service", "picture_hosts", [host])
    with client_of(empty_project) as client:
        answer = client.post(PATH, json={"urls": [url.replace("HOST", host)]})
    assert answer.status_code == 422
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"images": []}, {"images": 17 * ["a"]}, {"paths": ["/etc/passwd"]}, [], {"urls": 1}],
)
def test_wrong_names_are_422(empty_project: Project, wrong: Any) -> None:
    with client_of(empty_project) as client:
        answer = client.post(PATH, json=wrong)
    assert answer.status_code == 422
    assert {tuple(one) for one in answer.json()["detail"]} == {("type", "loc", "msg")}


def test_too_much_is_refused_before_it_is_read(
    empty_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "MAX_BYTES", 1000)
    with client_of(empty_project) as client:
        answer = client.post(PATH, content=1001 * b"x")
        assert (answer.status_code, answer.json()["detail"]) == (413, "more than 1000 bytes")
        named = {"images": ["a"], "urls": [70_000 * "x"]}
        assert client.post(PATH, json=named).status_code == 413


def test_few_wait_at_a_time(taught: Project) -> None:
    with client_of(taught) as client:
        app: Any = client.app
        places = app.state.predicting._places
        for _ in range(WAITING):
            assert places.acquire(blocking=False)
        answer = client.post(PATH, content=b"x")
    assert (answer.status_code, "predicted already" in answer.json()["error"]) == (503, True)


def test_before_the_first_model(project: Project) -> None:
    with client_of(project) as client:
        answer = client.post(PATH, json={"images": [images(project, 1)[0].id]})
        app: Any = client.app
        assert app.state.predicting._process is None  # nothing was loaded to tell that
    assert (answer.status_code, "no model yet" in answer.json()["error"]) == (422, True)


def test_labels_as_lines(taught: Project, tmp_path: Path) -> None:
    export_labels(taught, tmp_path / "labels.jsonl")
    with client_of(taught) as client:
        answer = client.get("/api/v1/labels.jsonl")
        table = client.get("/api/v1/labels.csv")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="labels.jsonl"'
    assert answer.text == (tmp_path / "labels.jsonl").read_text()
    records = [json.loads(line) for line in answer.text.splitlines()]
    assert len(records) == 8  # four queries and four audit images
    rows = list(csv.DictReader(StringIO(table.text)))
    assert [(row["image"], row["task"], row["value"]) for row in rows] == [
        (one["image"], task, value) for one in records for task, value in one["labels"].items()
    ]
    assert {(row["annotators"], row["names"]) for row in rows} == {("simulated", "simulated")}
    assert {row["rounds"] for row in rows} == {"1"}
    (first,) = records[0]["annotations"]
    with taught.database.reader() as session:
        query = session.get_one(QueryRow, first["query"])
        answer_row = session.scalars(select(AnnotationRow).filter_by(query_uid=query.uid)).one()
    assert first == {
        "annotator": "simulated",
        "name": None,
        "event": "submitted",
        "values": answer_row.values,
        "updated_at": answer_row.updated_at.isoformat(),
        "lead_time_s": answer_row.lead_time_s,
        "received_by": "simulated",
        "query": query.uid,
        "round": 1,
        "guess": None,  # there was no model in round 1
        "guess_by": "",
        "prefill": answer_row.prefill,
    }
    assert {(row["annotations"], float(row["agreement"])) for row in rows} == {("1", 1.0)}


def test_an_exported_guess_is_one_that_was_shown(taught: Project) -> None:
    go_round(taught)  # with guesses, but for audit images and as many blind queries
    with client_of(taught) as client:
        lines = client.get("/api/v1/labels.jsonl").text.splitlines()
    given = [one for line in lines for one in json.loads(line)["annotations"] if one["round"] == 2]
    with taught.database.reader() as session:
        asked = {one["query"]: session.get_one(QueryRow, one["query"]) for one in given}
    shown = {uid for uid, row in asked.items() if row.kind == "query" and not row.blind}
    assert (len(given), len(shown)) == (8, 2)
    for one in given:
        row = asked[one["query"]]
        told = (row.guess, row.guess_by) if row.uid in shown else (None, "")
        assert (one["guess"], one["guess_by"]) == told
    assert {one["guess_by"] for one in given} == {"m0001", ""}


def test_labels_of_a_project_without_any(empty_project: Project) -> None:
    with client_of(empty_project) as client:
        assert client.get("/api/v1/labels.jsonl").text == ""
        head = client.get("/api/v1/labels.csv").text.splitlines()
    assert head == [
        "image,location,split,task,value,agreement,annotations,annotators,names,annotated_at,rounds"
    ]
