"""Whether to remind now: a pure function of settings, facts and the time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from atlas.settings import RemindersSettings
from services.retraining.cron import Cron
from services.retraining.schedule import Schedule, parse

NOT = "not reminded: "


@dataclass(frozen=True)
class Facts:
    """What a decision rests on. All times have a zone.

    Attributes:
        since: times of the schedule up to here are answered.
        last_sent: the last reminder that went out.
        waiting: images that can be labelled now.
    """

    since: datetime
    last_sent: datetime | None = None
    waiting: int = 0


@dataclass(frozen=True)
class Decision:
    """An answer to a time of the schedule.

    Attributes:
        occasion: the time it answers; many missed ones are answered by one.
        send: remind now.
        reason: in words.
    """

    occasion: datetime
    send: bool
    reason: str


def schedule_of(settings: RemindersSettings) -> Schedule | None:
    """When to remind; None: never.

    Raises:
        SettingsError: it cannot be read.
    """
    if not settings.cron:
        return None
    return parse({"cron": settings.cron, "zone": settings.zone, "quiet": settings.quiet})


def next_time(schedule: Schedule, since: datetime) -> datetime:
    """The first time of the schedule after `since`, in UTC; quiet hours are not looked at."""
    return Cron.parse(schedule.cron).after(since, schedule.time_zone())


def decide(
    schedule: Schedule, settings: RemindersSettings, facts: Facts, now: datetime
) -> Decision | None:
    """The answer to the time that is due; None while none is, and in quiet hours.

    A time at which too few images wait is answered with that: images that come later wait for the
    next time. One that was missed (machine off, quiet hours) is answered as soon as can be.
    """
    occasion = next_time(schedule, facts.since)
    if occasion > now or schedule.quiet_until(now) is not None:
        return None
    if facts.waiting < max(settings.least, 1):
        return Decision(occasion, False, f"{NOT}{_images(facts.waiting)} waiting")
    if facts.last_sent is not None:
        rested = facts.last_sent + timedelta(hours=settings.pause_h)
        if now < rested:
            at = rested.astimezone(schedule.time_zone())
            return Decision(
                occasion, False, f"{NOT}pause until {at:%Y-%m-%d %H:%M} {settings.zone}"
            )
    return Decision(occasion, True, f"{_images(facts.waiting)} waiting")


def _images(count: int) -> str:
    """Such as "no image is", "1 image is" or "4 images are"."""
    if count == 0:
        return "no image is"
    return "1 image is" if count == 1 else f"{count} images are"
