"""The one file that knows the whole order: query → annotate → train → evaluate → register.

A person sits in the middle, so a round is two resumable calls: open (choose, push) and close
(collect, train, evaluate, register). Every step records that it finished; repeating is safe.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas import queue_state
from atlas.batches import Ask
from atlas.blinding import BLIND_REASON
from atlas.choosing import choose
from atlas.errors import ImageError, TrainingError
from atlas.images import open_image
from atlas.labels import record
from atlas.oracle import Oracle
from atlas.pool import set_aside
from atlas.project import Project
from atlas.round_state import TO_PUSH, count_labels, open_number
from atlas.store.tables import Image, QueryRow, Round
from atlas.train import train_model
from atlas.types import Query, utc_now


def open_round(project: Project, ask: Ask | None = None) -> int:
    """Choose the next batch and record it, unless a round is open already.

    Returns:
        The number of the open round.

    Raises:
        PoolExhausted: fewer images are left than were asked for, or none.
        CacheError: images without a bottleneck; embed first.
    """
    with project.database.reader() as session:
        number = open_number(session)
        last = session.scalar(select(func.max(Round.number))) or 0
        knows = queue_state.knowledge(session)  # before: a label may come while it is chosen
    if number is not None:
        return number
    choice = choose(project, last + 1, ask or Ask())
    with project.database.session() as session:
        number = open_number(session)
        if number is not None:  # another process opened one while this one chose
            return number
        session.add(
            Round(
                number=last + 1,
                state="open",
                sampler=choice.sampler,
                note=choice.note,
                steps=["chosen"],
            )
        )
        session.flush()
        for row in choice.rows:
            row.overlap = project.settings.label_studio.overlap
        session.add_all(choice.rows)
        queue_state.save(session, queue_state.QueueState(last + 1, knows=knows))
    return last + 1


def push_round(project: Project, oracle: Oracle) -> int:
    """Send the queries that the oracle does not know, or should ask one more about; how many.

    A picture that cannot be read any more is listed and its query skipped; the rest goes on.

    Raises:
        OracleError: nothing is lost; repeat it.
        ImageError: none of several pictures can be read.
    """
    with project.database.reader() as session:
        number = open_number(session)
        queries = [] if number is None else _to_push(session, project, number)
    queries = _readable(project, queries)
    if not queries:
        return 0
    tasks = oracle.push(queries)
    with project.database.session() as session:
        chosen = select(QueryRow).where(QueryRow.round_number == number)
        rows = {row.uid: row for row in session.scalars(chosen)}
        for query in queries:
            row = rows[query.uid]
            row.task_id = tasks[query.uid]
            row.state = "pushed" if row.state in TO_PUSH else row.state
        this = session.get_one(Round, number)
        this.pushed_at = utc_now()
        this.steps = [*this.steps, "pushed"]
        queue_state.came_late(session, this.number)
        _note_wait(session, this)
    return len(queries)


def collect(project: Project, oracle: Oracle, *, received_by: str = "poll") -> int:
    """Bring annotations, edits, skips and deletions home; returns how many were new.

    Raises:
        OracleError: nothing was recorded; repeat it.
    """
    with project.database.reader() as session:
        pushed = select(QueryRow.uid).where(QueryRow.state != "chosen").order_by(QueryRow.uid)
        uids = list(session.scalars(pushed))
    annotations = oracle.collect(uids)
    with project.database.session() as session:
        return record(
            session,
            annotations,
            received_by=received_by,
            taxonomy=project.taxonomy,
            consensus=project.settings.label_studio.consensus,
        )


def close_round(project: Project) -> str | None:
    """Train on all labels so far, measure, register, and close the open round.

    A round in which everything was skipped closes without a model.

    Returns:
        The new model's id, or None where there is nothing to learn from or no round is open.
    """
    with project.database.reader() as session:
        number = open_number(session)
    if number is None:
        return None
    try:
        model_id: str | None = train_model(project, round_number=number)
        note = ""
    except TrainingError as error:
        model_id, note = None, str(error)
    with project.database.session() as session:
        this = session.get_one(Round, number)
        this.state = "closed"
        this.closed_at = utc_now()
        this.model_id = model_id
        this.labels = count_labels(session)
        this.note = "; ".join(part for part in (this.note, note) if part)
        this.steps = [*this.steps, "trained", "closed"]
        _give_back(session, number)
    return model_id


def queries_of(project: Project, number: int) -> list[dict[str, Any]]:
    """The queries of a round in order of priority, as plain data."""
    with project.database.reader() as session:
        rows = session.scalars(
            select(QueryRow).where(QueryRow.round_number == number).order_by(QueryRow.priority)
        )
        return [
            {
                "query": row.uid,
                "image": row.image_id,
                "state": row.state,
                "priority": row.priority,
                "score": row.score,
                "blind": row.blind,
                "reason": row.reason,
                "guess": row.guess,
                "confidence": row.confidence,
            }
            for row in rows
        ]


def _to_push(session: Session, project: Project, number: int) -> list[Query]:
    rows = session.execute(
        select(QueryRow, Image.location)
        .join(Image, Image.id == QueryRow.image_id)
        .where(QueryRow.round_number == number, QueryRow.state.in_(TO_PUSH))
        .order_by(QueryRow.priority)
    )
    return [
        Query(
            uid=row.uid,
            image_id=row.image_id,
            priority=row.priority,
            location=project.absolute(location),
            guess={} if row.blind else row.guess,
            confidence={} if row.blind else row.confidence,
            reason=BLIND_REASON if row.blind else row.reason,
            overlap=row.overlap,
        )
        for row, location in rows
    ]


def _readable(project: Project, queries: list[Query]) -> list[Query]:
    """The queries whose picture is still there; the others are skipped and their image set aside.

    Raises:
        ImageError: none of several is: then a disk is not mounted, or there is no network.
    """
    unreadable: dict[str, str] = {}
    for query in queries:
        try:
            open_image(query.location)
        except ImageError as error:
            unreadable[query.uid] = str(error)
    if len(unreadable) == len(queries) > 1:
        raise ImageError(
            f"none of the {len(queries)} pictures of the open round can be read; the first: "
            f"{next(iter(unreadable.values()))}"
        )
    if unreadable:
        with project.database.session() as session:
            for uid, reason in unreadable.items():
                row = session.get_one(QueryRow, uid)
                row.state = "skipped"
                set_aside(session, session.get_one(Image, row.image_id), reason)
    return [query for query in queries if query.uid not in unreadable]


def _give_back(session: Session, number: int) -> None:
    """Queries that were chosen and never sent are free again when their round closes."""
    for row in session.scalars(
        select(QueryRow).where(QueryRow.round_number == number, QueryRow.state == "chosen")
    ):
        row.state = "skipped"


def _note_wait(session: Session, this: Round) -> None:
    """How long the annotators waited: from the last label of the round before to this queue."""
    before = session.get(Round, this.number - 1)
    if before is None or before.label_to_queue_s is not None or before.last_label_at is None:
        return
    assert this.pushed_at is not None
    before.label_to_queue_s = round((this.pushed_at - before.last_label_at).total_seconds(), 3)
