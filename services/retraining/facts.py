"""What a decision rests on, read from the rows. No torch here."""

from datetime import datetime
import json

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session
import structlog

from atlas.accuracy import accuracy_of
from atlas.analysis.drift import Drift, drift_since
from atlas.errors import ModelError
from atlas.project import Project
from atlas.promotion import current_id
from atlas.round_state import count_labels
from atlas.store import lease as leases
from atlas.store.tables import DecisionRow, Job, Meta, ModelRow, Promotion, ScheduleRow
from services import jobs
from services.retraining.decide import Facts
from services.retraining.schedule import Schedule

JOB_OF = {"heads": "train", "finetune": "finetune"}  # what is trained → the kind of its job
MADE_UP = "made_up_"  # key in Meta, before a kind: its last training that counts on an earlier day

log = structlog.get_logger(__name__)


def facts_of(session: Session, project: Project, row: ScheduleRow, schedule: Schedule) -> Facts:
    """The facts of now for one schedule.

    A training that somebody began by hand counts when its model is there; `heads` counts every
    model that came to answer, the ones after rounds and fine-tunes too.
    """
    begun = _begun(session, row.kind, schedule.per_day or 1)
    last = session.execute(
        select(ModelRow.created_at, ModelRow.labels)
        .where(_is_of(row.kind))
        .order_by(ModelRow.created_at.desc())
        .limit(1)
    ).first()
    runs = [(one.at, one.labels) for one in begun] + (
        [] if last is None else [(last.created_at, last.labels)]
    )
    last_run, labels_before = max(runs, default=(None, 0))
    return Facts(
        since=row.set_at,
        labels=count_labels(session),
        labels_before=labels_before,
        last_run=last_run,
        runs=_counted(session, row.kind, [one.at for one in reversed(begun)]),
        active=_is_active(session, row.kind),
        accuracy=_accuracy(session, project),
        drift=_drift(session, project, last_run or row.set_at) if schedule.drift else Drift(),
    )


def keep_made_up(session: Session, kind: str, at: datetime, occasion: datetime) -> None:
    """The training that begins `at` counts at `occasion`, on an earlier day.

    The last one is enough: those before it began on days that nobody counts any more.
    """
    value = json.dumps({"at": at.isoformat(), "counts": occasion.isoformat()})
    session.merge(Meta(key=MADE_UP + kind, value=value))


def _begun(session: Session, kind: str, count: int) -> list[DecisionRow]:
    """The last trainings that the schedule began, the latest first."""
    wanted = select(DecisionRow).where(DecisionRow.kind == kind, DecisionRow.run.is_(True))
    return list(session.scalars(wanted.order_by(DecisionRow.id.desc()).limit(count)))


def _counted(session: Session, kind: str, begun: list[datetime]) -> tuple[datetime, ...]:
    """When trainings that began at these times count."""
    row = session.get(Meta, MADE_UP + kind)
    if row is None:
        return tuple(begun)
    kept = {name: datetime.fromisoformat(text) for name, text in json.loads(row.value).items()}
    return tuple(kept["counts"] if at == kept["at"] else at for at in begun)


def _is_of(kind: str) -> ColumnElement[bool]:
    """Which models a training of this kind made."""
    if kind == "heads":
        return ModelRow.id.in_(select(Promotion.model_id))
    reason: ColumnElement[str] = ModelRow.metrics[("finetune", "reason")].as_string()
    return reason.is_not(None)


def _is_active(session: Session, kind: str) -> bool:
    """Whether such a job waits or runs, or a fine-tune runs without one."""
    active = select(Job.id).where(Job.kind == JOB_OF[kind], Job.state.in_(jobs.ACTIVE)).limit(1)
    by_hand = kind == "finetune" and leases.FINETUNE in leases.held(session)
    return by_hand or session.scalar(active) is not None


def _drift(session: Session, project: Project, since: datetime) -> Drift:
    model_id = current_id(session)
    try:
        return Drift() if model_id is None else drift_since(project, model_id, since)
    except ModelError as error:  # a damaged file must not keep the clock from all else
        log.warning("drift cannot be read", model=model_id, error=str(error))
        return Drift()


def _accuracy(session: Session, project: Project) -> dict[str, float]:
    """Level → accuracy of the present model, where enough audit images have a label."""
    found = accuracy_of(
        session,
        current_id(session),
        min_labels=project.settings.audit.min_labels,
        tasks=list(project.taxonomy.tasks),
    )
    return {
        level: one.accuracy
        for level, one in found.items()
        if one.state == "ok" and one.accuracy is not None
    }
