"""Schedules in the database: set, show, carry out. They change without a restart."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
import structlog

from atlas.errors import SettingsError
from atlas.project import Project
from atlas.round_state import count_labels
from atlas.store.tables import DecisionRow, ScheduleRow
from atlas.types import utc_now
from services import jobs
from services.retraining.clock import OF_THE_MACHINE
from services.retraining.decide import NOT, Decision, decide, next_runs
from services.retraining.facts import JOB_OF, facts_of, keep_made_up
from services.retraining.schedule import Schedule, parse

SHOWN_RUNS = 5
SHOWN_DECISIONS = 10

log = structlog.get_logger(__name__)


def set_schedule(
    project: Project, kind: str, content: Mapping[str, Any], *, now: datetime | None = None
) -> Schedule:
    """Replace the schedule of a kind; setting the same again changes nothing.

    Times of its cron before now are not caught up with.

    Args:
        project: whose schedule.
        kind: "heads" or "finetune".
        content: the fields of `Schedule`.
        now: a time with zone; the present one.

    Raises:
        SettingsError: an unknown kind or level, or a content that is no schedule.
    """
    change_schedules(project, {kind: content}, now=now)
    return parse(content)


def change_schedules(
    project: Project,
    wanted: Mapping[str, Mapping[str, Any] | None],
    *,
    now: datetime | None = None,
) -> None:
    """Replace the schedules of some kinds, or remove them (None): all, or none where one is wrong.

    Raises:
        SettingsError: as `set_schedule`.
    """
    saved = {kind: _content(project, kind, one) for kind, one in sorted(wanted.items())}
    with project.database.session() as session:
        for kind, content in saved.items():
            row = session.get(ScheduleRow, kind, with_for_update=True)
            if content is None:
                if row is not None:
                    session.delete(row)
            elif row is None or row.content != content:
                session.merge(ScheduleRow(kind=kind, content=content, set_at=now or utc_now()))


def remove_schedule(project: Project, kind: str) -> bool:
    """Train no more by itself; whether it did before. What was decided stays on record.

    Raises:
        SettingsError: an unknown kind.
    """
    _check(kind)
    with project.database.session() as session:
        row = session.get(ScheduleRow, kind, with_for_update=True)
        if row is not None:
            session.delete(row)
        return row is not None


def overview(project: Project, *, now: datetime | None = None) -> dict[str, dict[str, Any]]:
    """Kind → "schedule" (None: there is none), "set_at", "next", "now" and "decisions", for JSON.

    Where one is saved that cannot be read, "schedule" is None, "set_at" is not, and "now" says why.
    "next" holds the next times by the clock, in the schedule's zone; "now" what would be decided
    at this moment; "decisions" the last ones that were taken, the latest first.
    """
    now = now or utc_now()
    with project.database.reader() as session:
        return {kind: _overview(session, project, kind, now) for kind in JOB_OF}


def carry_out(project: Project, *, now: datetime | None = None) -> list[str]:
    """Decide about every schedule and ask for what is to be trained; returns the ids of the jobs.

    What was decided and the job's row are one transaction, and it decides again within: of many
    schedulers at once, one asks.
    """
    now = now or utc_now()
    with project.database.reader() as session:
        changed = [
            kind
            for kind in session.scalars(select(ScheduleRow.kind).order_by(ScheduleRow.kind))
            if _news(session, project, session.get_one(ScheduleRow, kind), now) is not None
        ]
    return [job for kind in changed for job in _carry_out(project, kind, now)]


def _carry_out(project: Project, kind: str, now: datetime) -> list[str]:
    with project.database.session() as session:
        # The row's lock holds other schedulers back until this one has said what it did.
        row = session.get(ScheduleRow, kind, with_for_update=True)
        found = None if row is None else _news(session, project, row, now)
        if found is None:
            return []
        decision, labels = found
        session.add(
            DecisionRow(kind=kind, at=now, run=decision.run, reason=decision.reason, labels=labels)
        )
        log.info("decided about training", kind=kind, run=decision.run, reason=decision.reason)
        if not decision.run:
            return []
        if decision.makes_up is not None:
            keep_made_up(session, kind, now, decision.makes_up)
        why = {"reason": decision.reason, "by": "schedule"}
        return [jobs.request_in(session, JOB_OF[kind], arguments=why)]


def _news(
    session: Session, project: Project, row: ScheduleRow, now: datetime
) -> tuple[Decision, int] | None:
    """What is decided now, where that is to train or differs from what was decided last.

    And how many labels there are.
    """
    try:
        schedule = parse(row.content)
    except SettingsError as error:
        decision, labels = _unreadable(error), count_labels(session)
    else:
        facts = facts_of(session, project, row, schedule)
        decision, labels = decide(schedule, facts, now), facts.labels
    last = next(iter(_decisions(session, row.kind, 1)), None)
    if not decision.run and last is not None and decision.reason == last.reason:
        return None
    return decision, labels


def _unreadable(error: SettingsError) -> Decision:
    """A decision, not an error: the other kind and all else that the tick does go on.

    A schedule that could be read when it was saved may name a time zone that is missing here.
    """
    return Decision(False, f"{NOT}the schedule cannot be read: {error}")


def _overview(session: Session, project: Project, kind: str, now: datetime) -> dict[str, Any]:
    row = session.get(ScheduleRow, kind)
    decisions = _decisions(session, kind, SHOWN_DECISIONS)
    found = {
        "schedule": None,
        "set_at": None if row is None else row.set_at.isoformat(),
        "next": [],
        "now": f"{NOT}there is no schedule",
        "decisions": [
            {"at": one.at.isoformat(), "run": one.run, "reason": one.reason} for one in decisions
        ],
    }
    if row is None:
        return found
    try:
        schedule = parse(row.content)
    except SettingsError as error:
        return found | {"now": _unreadable(error).reason}
    facts = facts_of(session, project, row, schedule)
    zone = schedule.time_zone()
    upcoming = next_runs(schedule, facts, now, count=SHOWN_RUNS)
    return found | {
        "schedule": schedule.model_dump(),
        "next": [at.astimezone(zone).isoformat(timespec="minutes") for at in upcoming],
        "now": decide(schedule, facts, now).reason,
    }


def _decisions(session: Session, kind: str, count: int) -> list[DecisionRow]:
    wanted = select(DecisionRow).where(DecisionRow.kind == kind)
    return list(session.scalars(wanted.order_by(DecisionRow.id.desc()).limit(count)))


def _content(
    project: Project, kind: str, content: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """What is kept of a schedule, after a look at whether it can be one here."""
    _check(kind)
    if content is None:
        return None
    schedule = parse(content)
    unknown = {*schedule.below, *schedule.drift} - set(project.taxonomy.tasks)
    if unknown:
        known = ", ".join(project.taxonomy.tasks)
        raise SettingsError(f"no level {', '.join(sorted(unknown))}; known: {known}")
    if schedule.zone in OF_THE_MACHINE:  # others that run for the project would read it otherwise
        raise SettingsError(
            f"zone {schedule.zone!r} may be another on each machine; give one such as Europe/Berlin"
        )
    return schedule.model_dump(exclude_defaults=True)


def _check(kind: str) -> None:
    if kind not in JOB_OF:
        raise SettingsError(f"no kind of training {kind!r}; known: {', '.join(JOB_OF)}")
