"""What people ask by HTTP: of Atlas's web API, and of Label Studio's."""

import csv
import io
import json
from threading import Event
import time
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.annotator import annotate_queue
from tests.live.person.people import Live, leaf_in

CHANGES: tuple[tuple[str, str, Any], ...] = (  # method, path, body
    ("POST", "/query", {}),
    ("POST", "/retrain", {"kind": "heads"}),
    ("POST", "/rollback", None),
    ("POST", "/models/m0001/promote", None),
    ("PUT", "/schedule/heads", {"after_labels": 1}),
    ("DELETE", "/schedule/heads", None),
    ("DELETE", "/jobs/train", None),
)
SUBMIT_TO_DATABASE_S = 2.0
TIMEOUT_S = 90.0


def client(address: str, authorization: str = "") -> httpx.Client:
    """Speaks to a server of this machine."""
    headers = {"Authorization": authorization} if authorization else {}
    return httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT_S, trust_env=False)


class Caller:
    """Somebody who asks the web API; with a token, or `http` has none."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def get(self, path: str, **query: str) -> Any:
        """The answer below /api/v1, as JSON."""
        answer = self.http.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def text(self, path: str, kind: str, **query: str) -> str:
        """The answer below /api/v1, of that kind."""
        answer = self.http.get(f"/api/v1{path}", params=query, headers={"Accept": kind})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].partition(";")[0] == kind
        return answer.text

    def table(self, path: str, **query: str) -> list[dict[str, str]]:
        """The rows of the answer as CSV."""
        return list(csv.DictReader(io.StringIO(self.text(path, "text/csv", **query))))

    def labels(self) -> list[dict[str, Any]]:
        """The download of labels: a record an image."""
        lines = self.text("/labels.jsonl", "application/x-ndjson").splitlines()
        return [json.loads(line) for line in lines]

    def figures(self) -> dict[tuple[str, ...], float]:
        """(name, value of each label) → figure, of what Prometheus is told."""
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.http.get("/metrics").text)
            for sample in family.samples
        }

    def post(self, path: str, said: dict[str, Any] | None = None) -> Any:
        """What a change is answered with."""
        answer = self.http.post(f"/api/v1{path}", json=said)
        assert answer.is_success, answer.text
        return answer.json()

    def has_done(self, kind: str) -> bool:
        """Whether a job of that kind is done."""
        return any((one["kind"], one["state"]) == (kind, "done") for one in self.get("/jobs"))

    def waiting(self) -> int:
        """How many queries of the latest round wait."""
        return int(self.get("/rounds")[-1]["waiting"])

    def has_sent(self, queries: int) -> bool:
        """Whether so many queries are with Label Studio, all sent at once."""
        sent = [one["progress"].get("pushed") for one in self.get("/jobs") if one["kind"] == "push"]
        return sent == [queries]

    def sees_arrive(self, waiting: int) -> None:
        """The answer that was just sent is known in time: as many wait now."""
        sent_s = time.monotonic()
        while self.waiting() != waiting:
            assert time.monotonic() - sent_s < SUBMIT_TO_DATABASE_S
            time.sleep(0.02)

    def follow(self, job_id: str) -> list[dict[str, Any]]:
        """The job as each server-sent event tells it, up to the one named `over`."""
        told: list[dict[str, Any]] = []
        name = ""
        with self.http.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    told.append(json.loads(value))
                    if name == "over":
                        return told
        raise AssertionError(f"the stream ended before the job: {told}")


class LabelStudio:
    """The account that annotators log in with, at Label Studio's own API."""

    def __init__(self, http: httpx.Client, live: Live) -> None:
        self.http, self.live = http, live
        (project,) = self.http.get("/api/projects").json()["results"]
        self.project = int(project["id"])

    def connect_backend(self, token: str) -> dict[str, Any]:
        """Connect Atlas as an ML backend; what Label Studio makes of it."""
        backend = {
            "project": self.project,
            "title": "Atlas",
            "url": f"{self.live.api}/label-studio/ml",
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": "atlas",
            "basic_auth_pass": token,
        }
        made = self.http.post("/api/ml", json=backend)
        assert made.status_code == 201, made.text
        return dict(self.http.get(f"/api/ml/{made.json()['id']}").json())

    def fetch_guesses(self, version: str) -> dict[str, list[str]]:
        """Let Label Studio ask its ML backend: query → the labels guessed, of that model."""
        asked = self.http.post(
            "/api/dm/actions",
            params={"id": "retrieve_tasks_predictions", "project": self.project},
            json={"selectedItems": {"all": True, "excluded": []}},
        )
        assert asked.status_code == 200, asked.text
        listed: dict[str, str | int] = {"project": self.project, "fields": "all", "page_size": 100}
        return {
            task["data"]["uid"]: [region["value"]["choices"][0] for region in guess["result"]]
            for task in self.http.get("/api/tasks", params=listed).json()["tasks"]
            for guess in task["predictions"]
            if guess["model_version"] == version
        }

    def answer(self, count: int) -> list[str]:
        """Answer so many tasks as their pictures tell; the queries, in the order they came."""
        asked: list[str] = []
        stop = Event()

        def look(data: dict[str, Any]) -> dict[str, str]:
            asked.append(data["uid"])
            if len(asked) == count:
                stop.set()
            return {"label": leaf_in(self.http.get(data["image"]).content)}

        url, token = self.live.label_studio, self.live.login.token
        assert annotate_queue(url, token, self.project, look, stop=stop) == count
        return asked
