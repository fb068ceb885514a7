"""Whether to train now, and why not: a pure function of a schedule, facts and the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from atlas.analysis.drift import LEAST, Drift
from services.retraining.clock import day_of, midnight
from services.retraining.cron import Cron
from services.retraining.schedule import Schedule

NOT = "not retrained: "
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Facts:
    """What a decision rests on. All times have a zone.

    Attributes:
        since: when the schedule was set; earlier times of its cron do not count.
        labels: labelled pool images now.
        labels_before: as many at the last training; 0 before the first.
        last_run: the last training, by whomever.
        runs: when the last trainings that this schedule began count: when they began, or at the
            time of an earlier day that they made up for. At least `per_day` of them if it has
            begun so many.
        active: whether one is queued or running.
        accuracy: level → accuracy in [0, 1] of the present model, where it was measured on
            enough labels.
        drift: of the pool since the last training, or since the schedule was set.
    """

    since: datetime
    labels: int = 0
    labels_before: int = 0
    last_run: datetime | None = None
    runs: tuple[datetime, ...] = ()
    active: bool = False
    accuracy: Mapping[str, float] = field(default_factory=dict)
    drift: Drift = Drift()

    @property
    def new_labels(self) -> int:
        """Labels more than at the last training; labels can be taken back too."""
        return max(self.labels - self.labels_before, 0)


@dataclass(frozen=True)
class Decision:
    """What is to be done.

    Attributes:
        run: train now.
        reason: in words that stay the same while nothing changes.
        again: when the clock alone may change it; None: it runs, or the clock cannot.
        makes_up: the time of an earlier day that the training makes up for; it counts there.
    """

    run: bool
    reason: str
    again: datetime | None = None
    makes_up: datetime | None = None


def decide(schedule: Schedule, facts: Facts, now: datetime) -> Decision:
    """Whether to train now.

    Times of the cron that were missed (machine off, quiet hours, pause) count as one, on the day of
    the first; or it would take the place of a time of today, and a machine that is off at night
    would train every other day. A time that came when the day's maximum was already reached is
    dropped, or each day would borrow from the next.
    """
    if facts.active:
        return Decision(False, f"{NOT}one is queued or running")
    if not facts.labels:
        return Decision(False, f"{NOT}there are no labels yet")
    due, waiting, again = _due(schedule, facts, now)
    if not due:
        return Decision(False, NOT + "; ".join(waiting), again)
    held, until = _held(schedule, facts, now)
    why = "; ".join(due)
    if until is not None:
        return Decision(False, f"{NOT}{held}, though {why}", until)
    return Decision(True, why, makes_up=_of_earlier_day(schedule, facts, now))


def next_runs(schedule: Schedule, facts: Facts, now: datetime, *, count: int) -> list[datetime]:
    """When it will train by the clock, if nothing else starts it: up to `count` times, in UTC."""
    if not schedule.cron:
        return []
    clock = schedule.model_copy(update={"after_labels": None, "below": {}, "drift": {}})
    facts = replace(facts, active=False, labels=max(facts.labels, 1))
    found: list[datetime] = []
    while len(found) < count:
        decision = decide(clock, facts, now)
        if decision.run:
            found.append(now)
            runs = (*facts.runs, decision.makes_up or now)
            facts = replace(facts, last_run=now, runs=runs)
        elif decision.again is not None:
            now = decision.again
    return found


def _due(
    schedule: Schedule, facts: Facts, now: datetime
) -> tuple[list[str], list[str], datetime | None]:
    """What asks for a training, what does not yet, and when the clock next may."""
    due: list[str] = []
    waiting: list[str] = []
    again = None
    if schedule.cron:
        occasion = _occasion(schedule, facts)
        if occasion <= now:
            due.append(f"due at {_said(occasion, schedule)}")
        else:
            again = occasion
            waiting.append(f"next at {_said(occasion, schedule)}")
    if schedule.after_labels is not None:
        enough = facts.new_labels >= schedule.after_labels
        text = f"{facts.new_labels} of {schedule.after_labels} labels"
        (due if enough else waiting).append(text)
    for level, bound in schedule.below.items():
        _compare(level, bound, facts, (due, waiting))
    for level, bound in schedule.drift.items():
        found = facts.drift.levels.get(level)
        text = f"drift of {level} is not known: {facts.drift.images} of {LEAST} new images"
        if found is not None:
            text = f"drift of {level} {100 * found:.1f} of {100 * bound:g} points"
        (due if found is not None and found >= bound else waiting).append(text)
    return due, waiting, again


def _compare(level: str, bound: float, facts: Facts, into: tuple[list[str], list[str]]) -> None:
    """A level's accuracy against its bound; the same labels would give the same model."""
    due, waiting = into
    accuracy = facts.accuracy.get(level)
    if accuracy is None:
        waiting.append(f"accuracy of {level} is not known yet")
    elif accuracy >= bound:
        waiting.append(f"accuracy of {level} {accuracy:.1%} is not below {bound:.1%}")
    elif not facts.new_labels:
        waiting.append(f"accuracy of {level} {accuracy:.1%} is below {bound:.1%}, no new labels")
    else:
        due.append(f"accuracy of {level} {accuracy:.1%} is below {bound:.1%}")


def _occasion(schedule: Schedule, facts: Facts) -> datetime:
    """The first time of the cron that no training has answered; it may lie ahead."""
    zone = schedule.time_zone()
    since = facts.since if facts.last_run is None else max(facts.since, facts.last_run)
    day = day_of(since, zone)
    if _is_full(schedule, facts, day):
        since = midnight(day + timedelta(days=1), zone) - INSTANT  # midnight itself counts
    return Cron.parse(schedule.cron).after(since, zone)


def _of_earlier_day(schedule: Schedule, facts: Facts, now: datetime) -> datetime | None:
    """The time that a training now makes up for, where that is not of today.

    Its own day has room, or it would have been dropped. As a training answers all times before it,
    a day sees one such training at most.
    """
    if not schedule.cron:
        return None
    zone, occasion = schedule.time_zone(), _occasion(schedule, facts)
    return occasion if day_of(occasion, zone) < day_of(now, zone) else None


def _is_full(schedule: Schedule, facts: Facts, day: date) -> bool:
    """Whether the maximum of a day is reached."""
    zone = schedule.time_zone()
    done = sum(day_of(one, zone) == day for one in facts.runs)
    return schedule.per_day is not None and done >= schedule.per_day


def _held(schedule: Schedule, facts: Facts, now: datetime) -> tuple[str, datetime | None]:
    """What holds a training back, and until when; None: nothing does."""
    quiet = schedule.quiet_until(now)
    if quiet is not None:
        return f"quiet hours until {_said(quiet, schedule)}", quiet
    if facts.last_run is not None:
        rested = facts.last_run + timedelta(seconds=schedule.pause_s)
        if now < rested:
            return f"pause until {_said(rested, schedule)}", rested
    zone = schedule.time_zone()
    today = day_of(now, zone)
    if _is_full(schedule, facts, today):
        return f"at most {schedule.per_day} a day", midnight(today + timedelta(days=1), zone)
    return "", None


def _said(at: datetime, schedule: Schedule) -> str:
    return f"{at.astimezone(schedule.time_zone()):%Y-%m-%d %H:%M} {schedule.zone}"
