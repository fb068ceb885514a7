"""How fast the dashboard's pages are on a large project.

Makes a project with as many rows as months of labelling leave (no pictures: a page draws them only
when somebody looks) and times every page: on the server, and until Chromium paints something.

    python benchmarks/dashboard.py /tmp/large --images 50000
"""

import argparse
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
import socket
import statistics
import threading
import time
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import insert
import uvicorn

from atlas.project import Project
from atlas.settings import Settings
from atlas.store.tables import (
    AccuracyRow,
    AnnotationRow,
    Base,
    DecisionRow,
    Image,
    Job,
    LabelRow,
    Meta,
    ModelRow,
    Promotion,
    QueryRow,
    Round,
    ScheduleRow,
)
from atlas.taxonomy import Taxonomy
from atlas.types import utc_now
from services.api import create_app
from services.dashboard.navigation import navigation

AUDIT_SHARE = 0.04
OPEN_QUERIES = 200
PEOPLE = 8
BUDGET_MS = 1000.0
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    """Make the project where it is not there yet, time its pages, print a table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--images", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=150)
    arguments.add_argument("--queries", type=int, default=100, help="a round")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--chromium", default="/usr/bin/chromium")
    given = arguments.parse_args()
    if not given.directory.exists():
        fill(given)
    project = Project(given.directory)
    paths = [(page.title, page.path) for page in navigation(project, "/")]
    with sync_playwright() as playwright, httpx.Client(timeout=120) as client:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=FLAGS)
        print(f"{'page':12}{'first ms':>10}{'server ms':>11}{'paint ms':>10}{'KiB':>7}")
        for address in serve(given.directory):
            for title, path in paths:
                line = measure(client, browser, address + path, given.repeats)
                print(f"{title:12}" + line)
        browser.close()


def measure(client: httpx.Client, browser: Browser, url: str, repeats: int) -> str:
    """The first answer, the median one, the median first paint of a browser that knows nothing."""
    answers = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        answer = client.get(url)
        answers.append(1000 * (time.perf_counter() - start))
        if answer.status_code != 200:
            return f"   answers {answer.status_code}"
    paints = []
    for _ in range(repeats):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(url)
        page.wait_for_function(PAINT.replace(".startTime", ""))
        paints.append(float(page.evaluate(PAINT)))
        context.close()
    server, paint = statistics.median(answers[1:]), statistics.median(paints)
    over = "  over the budget" if paint > BUDGET_MS else ""
    return f"{answers[0]:10.0f}{server:11.0f}{paint:10.0f}{len(answer.content) / 1024:7.0f}{over}"


def serve(directory: Path) -> Iterator[str]:
    """The address of the project's pages; served until the next is asked for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = create_app(directory)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def fill(given: argparse.Namespace) -> None:
    """A project after many rounds: images, queries, answers, labels, models, jobs, decisions."""
    leaves = tuple(f"kind {a}/group {b}/class {c}" for a in "ABCD" for b in "123" for c in "xyz")
    taxonomy = Taxonomy(("kind", "group", "class"), leaves, {})
    project = Project.create(given.directory, Settings(name="A large project"), taxonomy)
    rng, now = np.random.default_rng(0), utc_now()
    truth = rng.integers(0, len(leaves), given.images)
    audit = int(given.images * AUDIT_SHARE)
    ids = [f"img_{number:026x}" for number in range(given.images)]
    rows: list[tuple[type[Base], list[dict[str, Any]]]] = [
        (Image, [image(ids[one], one, one < audit) for one in range(given.images)])
    ]
    asked = given.rounds * given.queries
    labelled = ids[audit : audit + asked] + ids[:audit]
    rows += answered(labelled, truth, leaves, given, now)
    rows += trained(given, now)
    with project.database.session() as session:
        for table, values in rows:
            for start in range(0, len(values), 5000):
                session.execute(insert(table), values[start : start + 5000])


def image(image_id: str, number: int, is_audit: bool) -> dict[str, Any]:
    """One row of an image that is nowhere."""
    return {
        "id": image_id,
        "sha256": f"{number:064x}",
        "location": f"images/{number}.jpg",
        "split": "audit" if is_audit else "pool",
        "width": 640,
        "height": 480,
        "details": {},
        "truth": {},
    }


def answered(
    labelled: list[str],
    truth: np.ndarray[Any, np.dtype[np.int64]],
    leaves: tuple[str, ...],
    given: argparse.Namespace,
    now: Any,
) -> list[tuple[type[Base], list[dict[str, Any]]]]:
    """Rounds with their queries; every query of a closed round has an answer and a label."""
    rounds, queries, answers, labels = [], [], [], []
    per_round = -(-len(labelled) // given.rounds)
    for place, image_id in enumerate(labelled + labelled[:OPEN_QUERIES]):
        number = min(place // per_round, given.rounds) + 1
        number = given.rounds + 1 if place >= len(labelled) else number
        path = leaves[truth[place % len(truth)]]
        is_open = number == given.rounds + 1
        uid = f"q{number}-{place}"
        queries.append(
            {
                "uid": uid,
                "round_number": number,
                "image_id": image_id,
                "kind": "query",
                "state": "pushed" if is_open else "answered",
                "priority": place % per_round,
                "score": 0.5,
                "reason": "the two best classes are nearly tied",
                "guess": {"label": path},
                "confidence": {"label": 0.6},
            }
        )
        if is_open:
            continue
        answers.append(
            {
                "external_id": f"ls:{place}",
                "query_uid": uid,
                "image_id": image_id,
                "event": "submitted",
                "values": {"label": path},
                "annotator": f"person{place % PEOPLE}@example.org",
                "updated_at": now - timedelta(minutes=len(labelled) - place),
                "received_by": "webhook",
                "lead_time_s": 3.0,
                "prefill": "kept",
            }
        )
        labels.append(
            {
                "image_id": image_id,
                "task": "label",
                "value": path,
                "agreement": 1.0,
                "annotations": 1,
            }
        )
    for number in range(1, given.rounds + 2):
        is_open = number == given.rounds + 1
        rounds.append(
            {
                "number": number,
                "state": "open" if is_open else "closed",
                "sampler": "by_budget",
                "steps": [],
                "opened_at": now - timedelta(hours=given.rounds + 1 - number),
                "labels": 0 if is_open else number * given.queries,
                "model_id": None if is_open else f"m{number:04d}",
                "label_to_queue_s": None if is_open else 3.1,
            }
        )
    return [(Round, rounds), (QueryRow, queries), (AnnotationRow, answers), (LabelRow, labels)]


def trained(given: argparse.Namespace, now: Any) -> list[tuple[type[Base], list[dict[str, Any]]]]:
    """A model a round, with its accuracy, its promotion and its job; a schedule with decisions."""
    models, measured, promoted, jobs, decisions = [], [], [], [], []
    for number in range(1, given.rounds + 1):
        model_id, at = f"m{number:04d}", now - timedelta(hours=given.rounds - number)
        models.append(
            {
                "id": model_id,
                "round_number": number,
                "head": "tree",
                "fingerprint": "f" * 24,
                "labels": number * given.queries,
                "metrics": {"out_of_fold": {}, "fit_s": 2.0},
                "created_at": at,
            }
        )
        promoted.append({"model_id": model_id, "reason": "trained", "promoted_at": at})
        for level, best in (("kind", 0.97), ("group", 0.9), ("class", 0.82)):
            right = int(2000 * (best - 0.5 / number**0.5))
            measured.append({"model_id": model_id, "level": level, "correct": right, "n": 2000})
        job = f"advance-{number}"
        jobs.append(
            {
                "id": job,
                "kind": "advance",
                "key": str(number),
                "state": "done",
                "arguments": {},
                "progress": {"closed": number, "model": model_id},
                "created_at": at,
            }
        )
        decisions.append(
            {
                "kind": "heads",
                "at": at,
                "run": False,
                "reason": f"not retrained: {number} of 200 labels",
                "labels": number,
            }
        )
    schedule = {"kind": "heads", "content": {"cron": "0 3 * * *", "after_labels": 200}}
    return [
        (ModelRow, models),
        (AccuracyRow, measured),
        (Promotion, promoted),
        (Job, jobs),
        (DecisionRow, decisions),
        (ScheduleRow, [{**schedule, "set_at": now}]),
        (Meta, [{"key": "label_studio_project", "value": "1"}]),
    ]


if __name__ == "__main__":
    main()
