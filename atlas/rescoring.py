"""The waiting queries of the open round, scored again by what is known now.

A new label refits the head and a promotion brings another; either way the guesses change, and so
does what is worth asking first. Nothing of that is registered: the refitted head serves the queue
alone, for the next label replaces it. What the API answers and accuracy is told of is the promoted
model.

The order is that of the round's sampler where it scores each image by itself (margin, entropy and
the like), else of margin: what a batch sampler thinks of, which images complement each other, was
settled when it chose the batch. Audit images have no score: they keep their places, and no guess.
So do the other blind ones, or whoever compares two orders could tell which of them moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import time
from typing import Any, Protocol

import numpy as np
from sqlalchemy import select
import torch

from atlas import queue_state, registry
from atlas.bottleneck import BottleneckCache
from atlas.candidates import Learned, Taken, fit_on, look
from atlas.choosing import guesses, learned_now
from atlas.embedding import open_cache, project_backbone
from atlas.heads import Head
from atlas.labels import LabelsByImage, training_labels
from atlas.losses import encode
from atlas.project import Project
from atlas.queue_state import Knowledge, Place, QueueState
from atlas.round_state import open_number
from atlas.samplers import Sampler
from atlas.samplers._composition import build_sampler, takes_level
from atlas.settings import RoundSettings
from atlas.store.tables import Image, LabelRow, QueryRow, Round
from atlas.train import labelled_data, learn
from atlas.training.optimise import new_head, one_thread, optimise
from atlas.types import Batch

STAND_IN = "margin"


class Queue(Protocol):
    """Where the order is shown to annotators."""

    def reorder(self, places: Sequence[Place], *, round_number: int, turn: int) -> None:
        """Ask in this order from now on and show these guesses, all at once.

        Raises:
            OracleError: it may or may not have happened; repeat it with the next turn.
        """


@dataclass(frozen=True)
class _Waiting:
    """The open round as it was read.

    Attributes:
        rows: its queries that wait for an answer, by priority.
        hashes: image id → SHA-256 of the waiting and the labelled images.
        labels: of the pool.
        state: of the order that annotators have.
        knows: what is known now.
    """

    number: int
    sampler: str
    rows: list[QueryRow]
    hashes: dict[str, str]
    labels: LabelsByImage
    state: QueueState
    knows: Knowledge


@dataclass
class _Clock:
    """Seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self.last = round(now - self.last, 4), now


def rescore(project: Project, queue: Queue) -> dict[str, Any]:
    """Score the waiting queries again, where anything has changed, and show the new order.

    Call it under the project's lease: nobody may close the round meanwhile.

    Returns:
        "waiting" queries with a new place or guess, "labels" that it rests on, "by" (which score),
        the "turn" and the "seconds" of each stage; only "waiting": 0 where nothing was due.

    Raises:
        OracleError: the old order stands, or the new one; repeat it.
        CacheError: images without a bottleneck; embed first.
    """
    clock = _Clock()
    waiting = _read(project)
    if waiting is None:
        return {"waiting": 0}
    clock.done("read")
    cache = open_cache(project, project_backbone(project))
    learned = _learned(project, cache, waiting)
    clock.done("fit")
    places, by = _places(project, cache, waiting, learned)
    clock.done("score")
    turn = queue_state.begin_turn(project, waiting.number)
    queue.reorder(places, round_number=waiting.number, turn=turn)
    clock.done("push")
    _save(project, places, QueueState(waiting.number, turn, waiting.knows), learned.by)
    clock.done("save")
    return {
        "waiting": len(places),
        "labels": len(waiting.labels),
        "by": by,
        "turn": turn,
        "seconds": clock.seconds,
    }


def scorer(settings: RoundSettings, sampler: str) -> tuple[Sampler, str]:
    """What scores the waiting images of a round that `sampler` chose, and its name.

    Raises:
        PluginError, SamplerError: no such sampler, argument or level.
    """
    arguments = dict(settings.sampler_args) if sampler == settings.sampler else {}
    if takes_level(sampler):
        arguments.setdefault("level", settings.level)
    found = build_sampler(sampler, arguments)
    if hasattr(found, "scores"):
        return found, sampler
    return build_sampler(STAND_IN, {"level": settings.level}), STAND_IN


def _read(project: Project) -> _Waiting | None:
    with project.database.reader() as session:
        number = open_number(session)
        if number is None or not queue_state.is_due(session, project):
            return None
        pushed = (QueryRow.round_number == number, QueryRow.state == "pushed")
        rows = list(session.scalars(select(QueryRow).where(*pushed).order_by(QueryRow.priority)))
        told = Image.id.in_(select(LabelRow.image_id))
        asked = Image.id.in_(select(QueryRow.image_id).where(*pushed))
        hashes = session.execute(select(Image.id, Image.sha256).where(told | asked))
        return _Waiting(
            number=number,
            sampler=session.get_one(Round, number).sampler,
            rows=rows,
            hashes={one.id: one.sha256 for one in hashes},
            labels=training_labels(session),
            state=queue_state.load(session, number),
            knows=queue_state.knowledge(session),
        )


def _learned(project: Project, cache: BottleneckCache, waiting: _Waiting) -> Learned:
    """The promoted model where no label is newer or left, else a head on all labels so far."""
    current = learned_now(project, cache.fingerprint)
    if current is None:  # a first model wants its folds too, and the labels are few
        settings = project.settings.head.model_copy(update={"views": 0})
        data = labelled_data(project)
        fit = learn(data, project.taxonomy, settings, seed=project.settings.seed)
        by = fit_on(len(waiting.labels))
        return Learned(fit.head, registry.FoldHeads(fit.folds.heads), by=by)
    if waiting.state.knows.annotation == waiting.knows.annotation or not waiting.labels:
        return current
    head = _refit(project, cache, waiting, current.head)
    return replace(current, head=head, by=fit_on(len(waiting.labels)))


def _refit(project: Project, cache: BottleneckCache, waiting: _Waiting, like: Head) -> Head:
    """A head on every label so far, with the pool's moments and the temperature of the last.

    One fit instead of one a fold and one more: what folds tell (how sure to be) hardly moves with a
    label, and annotators wait.
    """
    settings = project.settings.head
    rng = np.random.default_rng([project.settings.seed, len(waiting.labels)])
    rows = cache.read([waiting.hashes[image_id] for image_id in waiting.labels])
    head = new_head(cache.features, project.taxonomy, settings, (like.mean, like.std))
    targets = encode(list(waiting.labels.values()), project.taxonomy)
    with one_thread():
        x = head.standardise(torch.from_numpy(rows.astype(np.float32)))
        optimise(head, x, targets, settings, rng)
    head.temperature.copy_(like.temperature)
    return head.eval()


def _places(
    project: Project, cache: BottleneckCache, waiting: _Waiting, learned: Learned
) -> tuple[list[Place], str]:
    """Every waiting query's new place, first asked first, and what scored them."""
    asked = [row for row in waiting.rows if not row.blind]
    rows = cache.read([waiting.hashes[row.image_id] for row in asked])
    known = list(waiting.labels)
    taken = Taken(
        known,
        cache.rows([waiting.hashes[image_id] for image_id in known]),
        list(waiting.labels.values()),
    )
    candidates = look([row.image_id for row in asked], rows, taken, learned)
    sampler, name = scorer(project.settings.round, waiting.sampler)
    rng = np.random.default_rng([project.settings.seed, waiting.number])
    batch = sampler.select(candidates, n=len(asked), rng=rng)
    told = dict(zip((row.image_id for row in asked), guesses(learned.head, rows), strict=True))
    by_image = {row.image_id: row for row in asked}
    return mixed(waiting.rows, [by_image[one] for one in batch.ids], batch, told), name


def mixed(
    rows: Sequence[QueryRow],
    ordered: Sequence[QueryRow],
    batch: Batch,
    told: dict[str, tuple[dict[str, str], dict[str, float]]],
) -> list[Place]:
    """The queries in their new order on the places of queries; blind ones stay where they are.

    Args:
        rows: every waiting query, by priority.
        ordered: those that are not blind, in the new order.
        batch: their scores, in the same order.
        told: image id → the guess and how sure it is.
    """
    queries = iter(zip(ordered, batch.scores, strict=True))
    places = []
    for row in rows:
        if row.blind:
            places.append(Place(row.uid, str(row.task_id), row.priority, {}, {}))
            continue
        query, score = next(queries)
        guess, confidence = told[query.image_id]
        places.append(Place(query.uid, str(query.task_id), row.priority, guess, confidence, score))
    return places


def _save(project: Project, places: Sequence[Place], state: QueueState, by: str) -> None:
    """Keep the order and whose guesses these are; what was answered meanwhile stays as it was."""
    by_uid = {place.uid: place for place in places}
    with project.database.session() as session:
        rows = session.scalars(
            select(QueryRow).where(
                QueryRow.round_number == state.round,
                QueryRow.state == "pushed",
                QueryRow.blind.is_(False),
            )
        )
        for row in rows:
            place = by_uid.get(row.uid)
            if place is not None:
                row.priority, row.score = place.priority, place.score
                row.guess, row.confidence = dict(place.guess), dict(place.confidence)
                row.guess_by = by
        queue_state.save(session, state)
