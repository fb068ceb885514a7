"""A project as large as months of labelling leave it, to time pages with; it holds no pictures."""

import argparse
from datetime import timedelta
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

from atlas.analysis import pool_map, stored
from atlas.analysis.stored import AUDIT, OUT_OF_FOLD, Guesses, Predictions
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

AUDIT_SHARE = 0.04
OPEN_QUERIES = 200
PEOPLE = 8
SHARED_EVERY = 10  # of so many images one is labelled by two people
WIDTH = 64  # of the made-up bottlenecks
FINGERPRINT = "f" * 24

Tables = list[tuple[type[Base], list[dict[str, Any]]]]


def fill(given: argparse.Namespace) -> None:
    """Write a project after many rounds into `given.directory`.

    Images, queries, answers, labels, models, jobs, decisions, and what a worker stores of the
    model that answers now: predictions that are right about three times in four, and a map.
    """
    leaves = tuple(f"kind {a}/group {b}/class {c}" for a in "ABCD" for b in "123" for c in "xyz")
    taxonomy = Taxonomy(("kind", "group", "class"), leaves, {})
    project = Project.create(given.directory, Settings(name="A large project"), taxonomy)
    rng, now = np.random.default_rng(0), utc_now()
    truth = rng.integers(0, len(leaves), given.images)
    audit = int(given.images * AUDIT_SHARE)
    images = [image(one, one < audit) for one in range(given.images)]
    ids = [one["id"] for one in images]
    asked = given.rounds * given.queries
    labelled = [*range(audit, audit + asked), *range(audit)]
    rows: Tables = [(Image, images)]
    rows += answered([(ids[one], leaves[truth[one]]) for one in labelled], given, now)
    rows += trained(given, now)
    with project.database.session() as session:
        for table, values in rows:
            for start in range(0, len(values), 5000):
                session.execute(insert(table), values[start : start + 5000])
    analysed(project, ids, truth, audit, audit + asked)


def analysed(
    project: Project, ids: list[str], truth: NDArray[np.int64], audit: int, asked: int
) -> None:
    """What the job `analyse` leaves: images below `audit` measure, those below `asked` train."""
    rng = np.random.default_rng(1)
    taxonomy = project.taxonomy
    middles = rng.normal(size=(len(taxonomy.leaves), WIDTH))
    bottlenecks = (middles[truth] + rng.normal(size=(len(ids), WIDTH))).astype(np.float32)
    logits = 2.4 * np.eye(len(taxonomy.leaves))[truth] + rng.gumbel(size=(len(ids), 36)) * 0.6
    leaf = np.exp(logits)
    leaf /= leaf.sum(axis=1, keepdims=True)
    probs = {
        level: (leaf @ np.eye(len(taxonomy.tasks[level]))[of]).astype(np.float32)
        for level, of in taxonomy.leaf_to_class.items()
    }
    folder = stored.root_of(project) / model_name(project)
    for kind, part in ((AUDIT, slice(0, audit)), (OUT_OF_FOLD, slice(audit, asked))):
        of_part = {level: one[part] for level, one in probs.items()}
        found = Predictions(tuple(ids[part]), taxonomy.tasks, of_part)
        stored.save_predictions(folder, kind, found)
    chosen = pool_map.sample(ids[audit:])
    place = {one: row for row, one in enumerate(ids)}
    rows = np.array([place[one] for one in chosen])
    pool_map.save(project, FINGERPRINT, chosen, bottlenecks[rows])
    best = {level: one[rows].argmax(axis=1).astype(np.int16) for level, one in probs.items()}
    sure = {level: one[rows].max(axis=1) for level, one in probs.items()}
    stored.save_guesses(folder, Guesses(tuple(chosen), taxonomy.tasks, best, sure))
    stored.write_facts(folder, {"images": len(ids), "fingerprint": FINGERPRINT})


def model_name(project: Project) -> str:
    """The model that answers now."""
    found = stored.model_or_current(project, None)
    assert found is not None  # `trained` promoted one
    return found


def image(number: int, is_audit: bool) -> dict[str, Any]:
    """One row of an image that is nowhere."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return {
        "id": f"img_{digest[:16]}",
        "sha256": digest,
        "location": f"images/{number}.jpg",
        "split": "audit" if is_audit else "pool",
        "width": 640,
        "height": 480,
        "details": {},
        "truth": {},
    }


def answered(labelled: list[tuple[str, str]], given: argparse.Namespace, now: Any) -> Tables:
    """Rounds with their queries; every query of a closed round has an answer and a label."""
    queries, answers, labels = [], [], []
    per_round = -(-len(labelled) // given.rounds)
    for place, (image_id, path) in enumerate(labelled + labelled[:OPEN_QUERIES]):
        is_open = place >= len(labelled)
        number = given.rounds + 1 if is_open else min(place // per_round, given.rounds) + 1
        uid = f"q{number}-{place}"
        queries.append(query(uid, number, image_id, path, place % per_round))
        if is_open:
            continue
        at = now - timedelta(minutes=len(labelled) - place)
        people = 2 if place % SHARED_EVERY == 0 else 1
        answers += [answer(queries[-1], place, at, one) for one in range(people)]
        label = {"image_id": image_id, "task": "label", "value": path}
        labels.append({**label, "agreement": 1.0, "annotations": people})
    for one in queries[-OPEN_QUERIES:]:
        one["state"] = "pushed"
    rounds = [opened(number, given, now) for number in range(1, given.rounds + 2)]
    return [(Round, rounds), (QueryRow, queries), (AnnotationRow, answers), (LabelRow, labels)]


def query(uid: str, number: int, image_id: str, path: str, priority: int) -> dict[str, Any]:
    """An answered query."""
    return {
        "uid": uid,
        "round_number": number,
        "image_id": image_id,
        "kind": "query",
        "state": "answered",
        "priority": priority,
        "score": 0.5,
        "reason": "the two best classes are nearly tied",
        "guess": {"label": path},
        "confidence": {"label": 0.6},
    }


def answer(asked: dict[str, Any], place: int, at: Any, person: int) -> dict[str, Any]:
    """The answer of the first or the second person to a query."""
    return {
        "external_id": f"ls:{place}-{person}",
        "query_uid": asked["uid"],
        "image_id": asked["image_id"],
        "event": "submitted",
        "values": asked["guess"],
        "annotator": f"ls:{1 + (place + place // SHARED_EVERY * person + person) % PEOPLE}",
        "updated_at": at,
        "received_by": "webhook",
        "lead_time_s": 3.0,
        "prefill": "accepted" if place % 4 else "changed",
    }


def opened(number: int, given: argparse.Namespace, now: Any) -> dict[str, Any]:
    """A round; the last one is open."""
    is_open = number == given.rounds + 1
    return {
        "number": number,
        "state": "open" if is_open else "closed",
        "sampler": "by_budget",
        "steps": [],
        "opened_at": now - timedelta(hours=given.rounds + 1 - number),
        "labels": 0 if is_open else number * given.queries,
        "model_id": None if is_open else f"m{number:04d}",
        "label_to_queue_s": None if is_open else 3.1,
    }


def trained(given: argparse.Namespace, now: Any) -> Tables:
    """A model a round, with its accuracy, its promotion and its job; a schedule with decisions."""
    models, measured, promoted, jobs, decisions = [], [], [], [], []
    for number in range(1, given.rounds + 1):
        model_id, at = f"m{number:04d}", now - timedelta(hours=given.rounds - number)
        models.append(
            {
                "id": model_id,
                "round_number": number,
                "head": "tree",
                "fingerprint": FINGERPRINT,
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
