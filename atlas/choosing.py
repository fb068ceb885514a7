"""From the pool to the rows of a round: candidates, the sampler's batch, audit images mixed in."""

from collections.abc import Sequence
from dataclasses import dataclass
import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from atlas import registry
from atlas.audit_share import audit_share
from atlas.batches import Ask, choose_batch
from atlas.blinding import draw_blind
from atlas.bottleneck import BottleneckCache
from atlas.candidates import Learned, Taken, look
from atlas.decimals import decimal
from atlas.embedding import open_cache, project_backbone
from atlas.evaluation import predict, predict_numbers
from atlas.heads import Head
from atlas.labels import training_labels
from atlas.pool import audit_key
from atlas.project import Project
from atlas.store.tables import Image, LabelRow, QueryRow
from atlas.types import LABEL, Rows

AUDIT_REASON = "drawn at random, to measure"
GUESS_DIGITS = 4


@dataclass(frozen=True)
class Chosen:
    """Rows for a round, the name of the sampler that chose, and what to record about that."""

    rows: list[QueryRow]
    sampler: str
    note: str = ""


@dataclass(frozen=True)
class _Image:
    id: str
    sha256: str


def choose(project: Project, round_number: int, ask: Ask) -> Chosen:
    """Choose a batch and the round's share of audit images; records nothing.

    Raises:
        PoolExhausted: `ask.n` images were asked for and fewer are left, or none is left at all.
        PluginError: unknown sampler or level argument it does not take.
        CacheError: an image has no bottleneck yet.
    """
    rng = np.random.default_rng([project.settings.seed, round_number])
    cache = open_cache(project, project_backbone(project))
    learned = learned_now(project, cache.fingerprint)
    with project.database.reader() as session:
        free = _candidates(session, round_number)
        taken = _taken(session)
        labels = training_labels(session)
        held_back = list(session.scalars(select(Image.sha256).where(Image.split == "audit")))
        audit = _audit(session, project, round_number)
    candidates = look(
        [image.id for image in free],
        cache.rows([image.sha256 for image in free]),
        Taken(
            [image.id for image in taken],
            cache.rows([image.sha256 for image in taken]),
            [labels.get(image.id, {}) for image in taken],
        ),
        learned,
    )
    avoid = (candidates.labelled, cache.rows(held_back))
    choice = choose_batch(candidates, avoid, project.settings.round, ask, rng=rng)
    batch = choice.batch
    rows = [
        QueryRow(**{**query_row(round_number, "query", image_id), "score": score, "reason": reason})
        for image_id, score, reason in zip(batch.ids, batch.scores, batch.reasons, strict=True)
    ]
    audit_rows = [QueryRow(**query_row(round_number, "audit", image.id)) for image in audit]
    blind = draw_blind(
        batch.ids, audit=len(audit), seed=project.settings.seed, round_number=round_number
    )
    for row in rows:
        row.blind = row.image_id in blind
    told = [row for row in rows if not row.blind]
    if learned is not None and told:
        _prefill(told, free, cache, learned)
    return Chosen(_mix(rows, audit_rows, rng), choice.sampler, choice.note)


def learned_now(project: Project, fingerprint: str) -> Learned | None:
    """The current model, unless it reads other bottlenecks or speaks of other classes."""
    current = registry.load_current(project)
    if current is None or not registry.fits(current[1], project, fingerprint):
        return None
    model_id, bundle = current
    folds = registry.load_folds(project.models / model_id, bundle)
    return Learned(bundle.head, folds, by=model_id)


def _candidates(session: Session, round_number: int) -> list[_Image]:
    """Pool images without a label that nobody is asked about; a skipped one rests for a round."""
    labelled = select(LabelRow.image_id)
    waiting = select(QueryRow.image_id).where(QueryRow.state.in_(("chosen", "pushed")))
    found = session.execute(
        select(Image.id, Image.sha256)
        .where(Image.split == "pool")
        .where(Image.id.not_in(labelled), Image.id.not_in(waiting))
        .where(Image.id.not_in(_resting(round_number)))
        .order_by(Image.id)
    )
    return [_Image(row.id, row.sha256) for row in found]


def _resting(round_number: int) -> Select[str]:
    """Images that were skipped in the round before."""
    return select(QueryRow.image_id).where(
        QueryRow.state == "skipped", QueryRow.round_number == round_number - 1
    )


def _taken(session: Session) -> list[_Image]:
    """Pool images that have a label or wait for one."""
    labelled = select(LabelRow.image_id)
    waiting = select(QueryRow.image_id).where(QueryRow.state.in_(("chosen", "pushed")))
    found = session.execute(
        select(Image.id, Image.sha256)
        .where(Image.split == "pool", Image.id.in_(labelled) | Image.id.in_(waiting))
        .order_by(Image.id)
    )
    return [_Image(row.id, row.sha256) for row in found]


def _audit(session: Session, project: Project, round_number: int) -> list[_Image]:
    """The next audit images in their random order, as many as the interval needs.

    A skipped one rests for a round: if it came back at once, that would tell it from a query.
    """
    asked = select(QueryRow.image_id).where(QueryRow.state != "skipped")
    found = session.execute(
        select(Image.id, Image.sha256)
        .where(Image.split == "audit", Image.id.not_in(asked))
        .where(Image.id.not_in(_resting(round_number)))
    )
    ranked = sorted(found, key=lambda row: audit_key(row.sha256, project))
    share = audit_share(session, project).of_round(project.settings.audit.per_round)
    return [_Image(row.id, row.sha256) for row in ranked[:share]]


def _prefill(
    rows: Sequence[QueryRow], free: Sequence[_Image], cache: BottleneckCache, learned: Learned
) -> None:
    """Give each query the model's guess.

    Blind ones are left out: a guess sways the annotator, and what is swayed towards the model may
    not measure it.
    """
    hashes = {image.id: image.sha256 for image in free}
    bottlenecks = cache.rows([hashes[row.image_id] for row in rows])
    for row, (guess, confidence) in zip(rows, guesses(learned.head, bottlenecks), strict=True):
        row.guess, row.confidence, row.guess_by = guess, confidence, learned.by


def guesses(head: Head, bottlenecks: Rows) -> list[tuple[dict[str, str], dict[str, float]]]:
    """The guess of each of (N, D) bottlenecks: task → value, task → how likely; see `best_guess`.

    A quantity is a decimal text, and nothing says how likely it is.
    """
    probs, numbers = predict(head, bottlenecks), predict_numbers(head, bottlenecks)
    found = []
    for position in range(len(bottlenecks)):
        guess, confidence = best_guess(head, probs, position)
        guess |= {name: decimal(values[position], GUESS_DIGITS) for name, values in numbers.items()}
        found.append((guess, confidence))
    return found


def best_guess(
    head: Head, probs: dict[str, NDArray[np.float32]], position: int
) -> tuple[dict[str, str], dict[str, float]]:
    """The most likely leaf and attribute classes of one row, and their probabilities."""
    tasks = {LABEL: head.taxonomy.levels[-1], **{name: name for name in head.taxonomy.attributes}}
    guess, confidence = {}, {}
    for key, task in tasks.items():
        row = probs[task][position]
        best = int(row.argmax())
        guess[key] = head.taxonomy.tasks[task][best]
        confidence[key] = round(float(row[best]), 4)
    return guess, confidence


def query_row(round_number: int, kind: str, image_id: str) -> dict[str, Any]:
    """The columns of a query that is not sent yet."""
    return {
        "uid": f"q_{secrets.token_hex(12)}",
        "round_number": round_number,
        "image_id": image_id,
        "kind": kind,
        "state": "chosen",
        "blind": kind == "audit",
        "priority": 0,
        "score": 0.0,
        "reason": AUDIT_REASON if kind == "audit" else "",
        "guess": {},
        "confidence": {},
    }


def _mix(
    queries: list[QueryRow], audit: list[QueryRow], rng: np.random.Generator
) -> list[QueryRow]:
    """Audit images at random places between the queries, which keep their order."""
    places = np.sort(rng.choice(len(queries) + len(audit), len(audit), replace=False))
    waiting, mixed = iter(queries), []
    spots = dict(zip(places.tolist(), audit, strict=True))
    for priority in range(len(queries) + len(audit)):
        row = spots[priority] if priority in spots else next(waiting)
        row.priority = priority
        mixed.append(row)
    return mixed
