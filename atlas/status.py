"""What a project looks like now, as plain data for the command line, the API and the dashboard."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas import pool
from atlas.accuracy import accuracy_of, errors_in, errors_of, every_accuracy, wilson
from atlas.audit_share import audit_share
from atlas.project import Project
from atlas.promotion import current_id
from atlas.round_state import ANSWERED, count_labels, open_number, waiting_by_round
from atlas.settling import count_unasked, count_unsettled
from atlas.stopping import Measured, forecast
from atlas.store import lease as leases
from atlas.store.tables import Job, LeftOut, ModelRow, QueryRow, Round
from atlas.types import LABEL


def accuracy(project: Project, model_id: str | None = None) -> dict[str, dict[str, Any]]:
    """Task → accuracy, low, high, n and state of a model (None: the one that answers now)."""
    with project.database.reader() as session:
        found = accuracy_of(
            session,
            model_id or current_id(session),
            min_labels=project.settings.audit.min_labels,
            tasks=list(project.taxonomy.tasks),
        )
    return {task: value.as_dict() for task, value in found.items()}


def errors(project: Project, model_id: str | None = None) -> dict[str, dict[str, Any]]:
    """Quantity → mean absolute error, low, high, n and state of a model (None: the present one)."""
    with project.database.reader() as session:
        found = errors_of(
            session,
            model_id or current_id(session),
            min_labels=project.settings.audit.min_labels,
            quantities=project.taxonomy.quantities,
        )
    return {name: value.as_dict() for name, value in found.items()}


def measured(project: Project, model_id: str | None = None) -> dict[str, dict[str, Any]]:
    """How good a model is at everything it predicts: `accuracy`, then `errors`."""
    return accuracy(project, model_id) | errors(project, model_id)


def rounds(project: Project) -> list[dict[str, Any]]:
    """Every round, oldest first, with its accuracy per task and error per quantity."""
    with project.database.reader() as session:
        return _rounds(session, Measurements(session, project))


def status(project: Project) -> dict[str, Any]:
    """Images, labels, the open round, the model, its accuracy and what more labels add, jobs.

    All of one moment.
    """
    with project.database.reader() as session:
        known = Measurements(session, project)
        done = _rounds(session, known)
        model_id = current_id(session)
        return {
            "name": project.settings.name,
            "directory": str(project.directory),
            "levels": list(project.taxonomy.levels),
            "images": {
                "pool": pool.count(session, "pool"),
                "audit": pool.count(session, "audit"),
                "left_out": session.scalar(select(func.count()).select_from(LeftOut)) or 0,
            },
            "labels": count_labels(session),
            "audit": audit_share(session, project).in_words(),
            "waiting": sum(one["waiting"] for one in done),
            "disagreements": _disagreements(session),
            "open_round": open_number(session),
            "model": model_id,
            "jobs": _jobs(session),
            "accuracy": known.accuracy(model_id),
            "errors": known.errors(model_id),
            "forecast": {task: _forecast(task, done) for task in project.taxonomy.tasks},
            "rounds": done,
        }


class Measurements:
    """What was measured of every model, read at once: a query each would add up.

    Args:
        session: whose moment it is.
        project: whose models.
    """

    def __init__(self, session: Session, project: Project) -> None:
        self.models = list(session.scalars(select(ModelRow).order_by(ModelRow.id.desc())))
        self._metrics = {row.id: row.metrics for row in self.models}
        self._min_labels = project.settings.audit.min_labels
        self._quantities = project.taxonomy.quantities
        self._tasks = list(project.taxonomy.tasks)
        self._accuracy = every_accuracy(session, min_labels=self._min_labels, tasks=self._tasks)

    def accuracy(self, model_id: str | None) -> dict[str, dict[str, Any]]:
        """Task → accuracy, low, high, n and state; None: of no model."""
        unknown = wilson(0, 0, min_labels=self._min_labels)
        found = self._accuracy.get(model_id or "", {})
        return {task: found.get(task, unknown).as_dict() for task in self._tasks}

    def errors(self, model_id: str | None) -> dict[str, dict[str, Any]]:
        """Quantity → mean absolute error, low, high, n and state; None: of no model."""
        found = errors_in(
            self._metrics.get(model_id or "", {}),
            min_labels=self._min_labels,
            quantities=self._quantities,
        )
        return {name: one.as_dict() for name, one in found.items()}


def _rounds(session: Session, known: Measurements) -> list[dict[str, Any]]:
    waiting, sizes = waiting_by_round(session), _sizes(session)
    return [
        {
            "round": row.number,
            "state": row.state,
            "sampler": row.sampler,
            "queries": sizes.get(row.number, 0),
            "waiting": waiting.get(row.number, 0),
            "labels": row.labels,
            "model": row.model_id,
            "accuracy": known.accuracy(row.model_id) if row.model_id else {},
            "errors": known.errors(row.model_id) if row.model_id else {},
            "label_to_queue_s": row.label_to_queue_s,
            "opened_at": row.opened_at.isoformat(),
            "closed_at": row.closed_at.isoformat() if row.closed_at else None,
            "note": row.note,
        }
        for row in session.scalars(select(Round).order_by(Round.number))
    ]


def queue(project: Project, *, limit: int = 50) -> list[dict[str, Any]]:
    """The first `limit` queries that wait for an answer, in the order they are asked."""
    with project.database.reader() as session:
        rows = session.scalars(
            select(QueryRow)
            .join(Round, Round.number == QueryRow.round_number)
            .where(QueryRow.state.not_in(ANSWERED), Round.state == "open")
            .order_by(QueryRow.priority)
            .limit(limit)
        )
        return [
            {
                "query": row.uid,
                "image": row.image_id,
                "priority": row.priority,
                "guess": row.guess.get(LABEL, ""),
                "confidence": row.confidence.get(LABEL),
                "reason": row.reason,
            }
            for row in rows
        ]


def _forecast(task: str, done: list[dict[str, Any]]) -> dict[str, Any]:
    """What the next labels should add at one level, from the rounds that were measured."""
    found = [(one["labels"], one["accuracy"].get(task)) for one in done if one["accuracy"]]
    curve = [
        Measured(labels, at["accuracy"], at["n"])
        for labels, at in found
        if at is not None and at["n"]
    ]
    return forecast(curve).as_dict()


def models(project: Project) -> list[dict[str, Any]]:
    """Every registered model, newest first, with its accuracy per task and error per quantity."""
    with project.database.reader() as session:
        known = Measurements(session, project)
        current = current_id(session)
        return [
            {
                "model": row.id,
                "current": row.id == current,
                "round": row.round_number,
                "labels": row.labels,
                "head": row.head,
                "created_at": row.created_at.isoformat(),
                "accuracy": known.accuracy(row.id),
                "errors": known.errors(row.id),
                "out_of_fold": row.metrics.get("out_of_fold", {}),
                "finetune": row.metrics.get("finetune"),
            }
            for row in known.models
        ]


def _disagreements(session: Session) -> dict[str, int]:
    """Queries answered unasked, or asked once more; images of which no answer has a majority."""
    found = select(func.count()).select_from(QueryRow)
    return {
        "answered_unasked": count_unasked(session),
        "one_more_asked": session.scalar(found.where(QueryRow.extra)) or 0,
        "unsettled": count_unsettled(session),
    }


def _sizes(session: Session) -> dict[int, int]:
    found = session.execute(
        select(QueryRow.round_number, func.count()).group_by(QueryRow.round_number)
    )
    return dict(found.all())


def _jobs(session: Session) -> list[dict[str, Any]]:
    """The latest ten jobs; what does one that is lost was killed and has not been replaced."""
    rows = session.scalars(select(Job).order_by(Job.created_at.desc()).limit(10))
    held = leases.held(session)
    return [
        {
            "id": row.id,
            "kind": row.kind,
            "state": row.state,
            "lost": row.state == "running" and leases.JOB + row.id not in held,
            "attempts": row.attempts,
            "progress": row.progress,
            "error": row.error,
            "created_at": row.created_at.isoformat(),
            "finished_at": row.finished_at.isoformat() if row.finished_at else None,
        }
        for row in rows
    ]
