"""From a submitted label to the new order: Label Studio, API, worker and clock as `atlas up` runs.

    python benchmarks/rescore.py --out DIR [--pool 50000] [--labels 2000] [--waiting 200]

Bottlenecks are drawn (one Gaussian cloud a leaf); one small picture stands for all. An annotator
submits `--events` labels through Label Studio's own API, each after the order has followed the one
before. Prints the median and the 95th percentile of the whole way and of each of its stages.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
import hashlib
from pathlib import Path
import time

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from safetensors.torch import save_file
from sqlalchemy import func, insert, select
import timm

from atlas import queue_state
from atlas.embedding import open_cache, project_backbone
from atlas.project import Project
from atlas.settings import AuditSettings, BackboneSettings, RoundSettings, Settings
from atlas.store.tables import AnnotationRow, Image, Job, LabelRow, Meta, QueryRow
from atlas.taxonomy import Taxonomy
from atlas.train import train_model
from atlas.types import LABEL, utc_now
from services import label_studio
from services.interrupts import ending_on_signals
from services.startup import bring_up
from services.steps import ORACLE_PROJECT
from services.supervisor import Supervisor

ARCH = "regnety_004"  # 440 features
SPREAD = 2.0  # of a cloud, where the centres' is 1: the leaves overlap
PICTURE = "picture.png"
PATIENCE_S = 120.0
PUT = 10_000
INSERT = 1000


def main() -> None:
    """Make the project, start everything, measure, print."""
    arguments = _arguments()
    project, truth = _project(arguments)
    with ending_on_signals(), Supervisor(project, any_port=True) as supervisor:
        number = bring_up(supervisor, lambda said: print(said, flush=True))
        url = supervisor.label_studio_url
        login = label_studio.admin(project)
        _wait(lambda: _waiting(project) >= arguments.waiting, supervisor, "the first round")
        headers = {"Authorization": f"Token {login.token}"}
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(
            base_url=url, headers=headers, limits=limits, timeout=60.0, trust_env=False
        ) as client:
            found = list(_events(project, supervisor, client, truth, arguments.events, number))
    _print(found, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the project")
    parser.add_argument("--pool", type=int, default=50_000, help="images")
    parser.add_argument("--labels", type=int, default=2000, help="that are there from the start")
    parser.add_argument("--waiting", type=int, default=200, help="tasks, at the last event")
    parser.add_argument("--events", type=int, default=24)
    parser.add_argument("--sampler", default="margin")
    return parser.parse_args()


def _project(arguments: argparse.Namespace) -> tuple[Project, dict[str, str]]:
    """A project with a first model, and image id → its leaf."""
    arguments.out.mkdir(parents=True)
    checkpoint = arguments.out / "backbone.safetensors"
    save_file(timm.create_model(ARCH, pretrained=False).state_dict(), checkpoint)
    tree = tuple(f"k{a}/g{a}{b}/s{a}{b}{c}" for a in range(4) for b in range(3) for c in range(5))
    settings = Settings(
        name="rescore",
        backbone=BackboneSettings(name=ARCH, checkpoint=str(checkpoint), device="cpu"),
        audit=AuditSettings(size=0, per_round=0),
        round=RoundSettings(
            sampler=arguments.sampler, batch_size=arguments.waiting + arguments.events
        ),
    )
    levels = ("kind", "group", "sort")
    project = Project.create(arguments.out / "project", settings, Taxonomy(levels, tree, {}))
    PilImage.new("RGB", (64, 64), (120, 160, 90)).save(project.directory / PICTURE)
    rng = np.random.default_rng(0)
    backbone = project_backbone(project)
    leaves = rng.integers(len(tree), size=arguments.pool)
    hashes = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(arguments.pool)]
    centres = rng.normal(size=(len(tree), backbone.features)).astype(np.float32)
    cache = open_cache(project, backbone)
    for start in range(0, arguments.pool, PUT):
        part = leaves[start : start + PUT]
        noise = rng.normal(size=(len(part), backbone.features)).astype(np.float32)
        cache.put(hashes[start : start + PUT], centres[part] + SPREAD * noise)
    truth = {f"img_{sha[:16]}": tree[leaf] for sha, leaf in zip(hashes, leaves, strict=True)}
    _fill(project, hashes, truth, arguments.labels)
    print(f"trained {train_model(project)} on {arguments.labels} labels", flush=True)
    return project, truth


def _fill(project: Project, hashes: list[str], truth: dict[str, str], labels: int) -> None:
    """The rows of the images, and the labels of the first of them."""
    images = [
        {
            "id": f"img_{sha[:16]}",
            "sha256": sha,
            "location": PICTURE,
            "split": "pool",
            "width": 64,
            "height": 64,
            "details": {},
            "truth": {},
        }
        for sha in hashes
    ]
    known = [
        {
            "image_id": one["id"],
            "task": LABEL,
            "value": truth[str(one["id"])],
            "agreement": 1.0,
            "annotations": 1,
        }
        for one in images[:labels]
    ]
    with project.database.session() as session:
        for start in range(0, len(images), INSERT):
            session.execute(insert(Image), images[start : start + INSERT])
        session.execute(insert(LabelRow), known)


def _events(
    project: Project,
    supervisor: Supervisor,
    client: httpx.Client,
    truth: dict[str, str],
    count: int,
    number: int,
) -> Iterator[dict[str, float]]:
    """Submit labels one after the other; the seconds of each stage until the order followed."""
    for _ in range(count):
        task = client.get(f"/api/projects/{number}/next").raise_for_status().json()
        leaf = truth[task["data"]["image_id"]]
        region = {"id": "label", "from_name": LABEL, "to_name": "image", "type": "choices"}
        body = {"result": [{**region, "value": {"choices": [leaf]}}], "lead_time": 1.0}
        turn = _turn(project)
        submitted_at, started = utc_now(), time.perf_counter()
        client.post(f"/api/tasks/{task['id']}/annotations/", json=body).raise_for_status()
        submit_s = time.perf_counter() - started
        _wait(partial(_follows, project, turn), supervisor, "the new order")
        whole_s = time.perf_counter() - started
        with project.database.reader() as session:
            job = session.get_one(Job, "rescore")
            stages: dict[str, float] = dict(job.progress["seconds"])
            assert job.started_at is not None
            begun_s = (job.started_at - submitted_at).total_seconds()
        yield {"whole": whole_s, "submit": submit_s, "to the job": begun_s, **stages}


def _turn(project: Project) -> int:
    with project.database.reader() as session:
        return queue_state.load(session, 1).turn


def _follows(project: Project, turn: int) -> bool:
    """Whether an order after `turn` rests on the last label, and its job has said so."""
    with project.database.reader() as session:
        last = session.scalar(select(func.max(AnnotationRow.id)))
        state = queue_state.load(session, 1)
        job = session.get(Job, "rescore")
        over = job is not None and job.state == "done"
        return over and state.turn > turn and state.knows.annotation == last


def _waiting(project: Project) -> int:
    with project.database.reader() as session:
        if session.get(Meta, ORACLE_PROJECT) is None:
            return 0
        pushed = select(func.count()).where(QueryRow.state == "pushed")
        return session.scalar(pushed) or 0


def _wait(condition: Callable[[], bool], supervisor: Supervisor, what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        supervisor.watch()
        if time.monotonic() > end_s:
            raise SystemExit(f"still waiting for {what} after {PATIENCE_S:.0f} s")
        time.sleep(0.01)


def _print(found: list[dict[str, float]], arguments: argparse.Namespace) -> None:
    print(
        f"\n{arguments.events} labels, {arguments.waiting} waiting tasks at the end, "
        f"{arguments.pool:,} images, {arguments.labels:,} labels before\n"
    )
    print("| stage | median s | p95 s |\n|---|---|---|")
    for stage in found[0]:
        values: NDArray[np.float64] = np.array([one[stage] for one in found])
        print(f"| {stage} | {np.median(values):.3f} | {np.percentile(values, 95):.3f} |")


if __name__ == "__main__":
    main()
