"""Reminders in the database: decided by the tick, delivered by a job, kept on record.

Every time of the schedule has one row at most, so that of several schedulers one answers it. A
delivery that failed is tried again, each channel by itself; what was delivered is not repeated.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
import json
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
import structlog

from atlas.errors import ServiceError, SettingsError
from atlas.project import Project
from atlas.store.tables import Meta, QueryRow, ReminderRow, Round
from atlas.types import utc_now
from services import jobs
from services.reminders.channels import channels_of
from services.reminders.message import Message, link_of
from services.reminders.plan import Decision, Facts, decide, next_time, schedule_of

KIND = "remind"
SINCE = "reminders_since"  # key in Meta: which schedule, and since when it holds
TRIES = 5
RETRY_S = 60.0  # before the second try; twice as long before each further one
DELIVERED = "delivered"
SHOWN = 10

log = structlog.get_logger(__name__)


def carry_out(project: Project, *, now: datetime | None = None) -> list[str]:
    """Answer the time that is due and ask for what is to be delivered; the ids of the jobs.

    Settings that cannot be read are said in the log, and nothing else stops for them.
    """
    now = now or utc_now()
    if not project.settings.reminders.cron:
        return []
    try:
        decision = _decision(project, now)
    except SettingsError as error:
        log.error("reminders are off", error=str(error))
        return []
    asked = [] if decision is None else _record(project, decision, now)
    return asked + _again(project, now)


def deliver(project: Project, number: int, *, now: datetime | None = None) -> dict[str, Any]:
    """Deliver a reminder where it is not yet; a second call repeats nothing.

    Returns:
        Channel → "delivered"; nothing where no image waits any more.

    Raises:
        ServiceError: a channel failed; the tick asks for another try.
        SettingsError: a channel's settings are wrong, or there is none.
        OracleUnreachable: Label Studio, whose page the message links to.
    """
    settings = project.settings.reminders
    channels = channels_of(settings)
    if not channels:
        raise SettingsError(
            "reminders.cron is set; give reminders.webhook, reminders.slack or reminders.email_to"
        )
    with project.database.reader() as session:
        done = dict(session.get_one(ReminderRow, number).deliveries)
        waiting = waiting_images(session)
    if not waiting:  # answered meanwhile
        _tried(project, number, over=True, now=now or utc_now())
        return done
    message = Message(number, project.settings.name, waiting, link_of(project))
    for name in [name for name in channels if done.get(name) != DELIVERED]:
        try:
            channels[name](message)
            done[name] = DELIVERED
        except ServiceError as error:
            done[name] = f"failed: {error}"
        _keep(project, number, done)  # at once: what went out must not go out again
    failed = {name: said for name, said in done.items() if said != DELIVERED and name in channels}
    _tried(project, number, over=not failed, now=now or utc_now())
    if failed:
        raise ServiceError("; ".join(f"{name} {said}" for name, said in failed.items()))
    return done


def overview(project: Project, *, now: datetime | None = None) -> dict[str, Any]:
    """The "next" time (None: off), "waiting" images and the "last" reminders, for JSON."""
    now = now or utc_now()
    schedule = schedule_of(project.settings.reminders)
    with project.database.reader() as session:
        rows = session.scalars(select(ReminderRow).order_by(ReminderRow.id.desc()).limit(SHOWN))
        return {
            "next": None if schedule is None else next_time(schedule, now).isoformat(),
            "waiting": waiting_images(session),
            "last": [
                {
                    "at": row.at.isoformat(),
                    "send": row.send,
                    "reason": row.reason,
                    "deliveries": row.deliveries,
                }
                for row in rows
            ],
        }


def waiting_images(session: Session) -> int:
    """Images of the open round that annotators can label now."""
    pushed = (
        select(func.count())
        .select_from(QueryRow)
        .join(Round, Round.number == QueryRow.round_number)
        .where(Round.state == "open", QueryRow.state == "pushed")
    )
    return session.scalar(pushed) or 0


def _decision(project: Project, now: datetime) -> Decision | None:
    settings = project.settings.reminders
    schedule = schedule_of(settings)
    if schedule is None:
        return None
    with project.database.session() as session:
        began = _since(session, {"cron": settings.cron, "zone": settings.zone}, now)
        answered = select(func.max(ReminderRow.at))
        facts = Facts(
            # one answer stands for all the times that had come by then
            since=max(began, session.scalar(answered) or began),
            last_sent=session.scalar(answered.where(ReminderRow.send.is_(True))),
            waiting=waiting_images(session),
        )
    return decide(schedule, settings, facts, now)


def _since(session: Session, schedule: Mapping[str, str], now: datetime) -> datetime:
    """Since when this schedule holds: times before are not caught up with."""
    row = session.get(Meta, SINCE)
    if row is not None:
        known = json.loads(row.value)
        if known["schedule"] == schedule:
            return datetime.fromisoformat(known["since"])
    value = json.dumps({"schedule": schedule, "since": now.isoformat()})
    try:
        with session.begin_nested():
            session.merge(Meta(key=SINCE, value=value))
    except IntegrityError:
        log.info("another scheduler began at the same moment")
    return now


def _record(project: Project, decision: Decision, now: datetime) -> list[str]:
    """The row of an occasion and, where it is to be sent, its job: one transaction."""
    with project.database.session() as session:
        row = ReminderRow(
            occasion=decision.occasion,
            at=now,
            send=decision.send,
            reason=decision.reason,
            waiting=waiting_images(session),
            deliveries={},
            tries=0,
            over=not decision.send,
        )
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:
            log.info("another scheduler answered it first", occasion=decision.occasion.isoformat())
            return []
        log.info("decided about a reminder", send=decision.send, reason=decision.reason)
        if not decision.send:
            return []
        return [jobs.request_in(session, KIND, key=str(row.id))]


def _again(project: Project, now: datetime) -> list[str]:
    """Ask once more for what failed, later each time, up to `TRIES` in all."""
    with project.database.session() as session:
        rows = session.scalars(
            select(ReminderRow).where(
                ReminderRow.over.is_(False), ReminderRow.tries > 0, ReminderRow.tries < TRIES
            )
        )
        return [
            jobs.request_in(session, KIND, key=str(row.id))
            for row in rows
            if row.tried_at is not None
            and row.tried_at + timedelta(seconds=RETRY_S * 2 ** (row.tries - 1)) <= now
        ]


def _keep(project: Project, number: int, deliveries: Mapping[str, Any]) -> None:
    with project.database.session() as session:
        session.get_one(ReminderRow, number).deliveries = dict(deliveries)


def _tried(project: Project, number: int, *, over: bool, now: datetime) -> None:
    with project.database.session() as session:
        row = session.get_one(ReminderRow, number)
        row.tries, row.tried_at, row.over = row.tries + 1, now, over
