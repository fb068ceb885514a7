"""The schedule page's part on reminders: when, by which way, and what became of the last ones."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from atlas.errors import SettingsError
from atlas.project import Project
from atlas.settings import RemindersSettings
from services.reminders import keeping
from services.reminders.channels import channels_of
from services.reminders.message import waiting_images

TITLES = {"webhook": "webhook", "slack": "chat", "email": "e-mail"}


@dataclass(frozen=True)
class Reminders:
    """What there is to show.

    Attributes:
        is_on: the settings hold a time to remind at.
        wrong: why nobody can be reminded as the settings are; "" where nothing is wrong.
        next: the next time, ISO 8601 in the zone of the settings; None where there is none.
        zone: its name.
        ways: where messages go, without what is secret in an address.
        waiting: such as "4 images are waiting".
        last: the latest decisions, the latest first, as `keeping.overview` tells them.
    """

    is_on: bool
    wrong: str = ""
    next: str | None = None
    zone: str = ""
    ways: list[str] = field(default_factory=list)
    waiting: str = ""
    last: list[dict[str, Any]] = field(default_factory=list)


def reminders(project: Project) -> Reminders:
    """As the settings and the database are now."""
    settings = project.settings.reminders
    if not settings.cron:
        return Reminders(is_on=False)
    try:
        channels_of(settings)
        found = keeping.overview(project)
    except SettingsError as error:
        return Reminders(is_on=True, wrong=str(error))
    ways = ways_of(settings)
    return Reminders(
        is_on=True,
        wrong="" if ways else "there is nowhere to send them: no webhook, chat or e-mail address",
        next=_in_zone(found["next"], settings.zone),
        zone=settings.zone,
        ways=ways,
        waiting=waiting_images(found["waiting"]),
        last=[{**one, "deliveries": _named(one["deliveries"])} for one in found["last"]],
    )


def ways_of(settings: RemindersSettings) -> list[str]:
    """Such as "chat at hooks.slack.com": the host of an address alone, the rest is a secret."""
    found = [
        f"{TITLES[name]} at {urlsplit(url).hostname}"
        for name, url in (("webhook", settings.webhook), ("slack", settings.slack))
        if url
    ]
    if settings.email_to:
        people = len(settings.email_to)
        said = "1 person" if people == 1 else f"{people} people"
        found.append(f"{TITLES['email']} to {said} through {settings.smtp_host}")
    return found


def _in_zone(moment: str, zone: str) -> str:
    return datetime.fromisoformat(moment).astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")


def _named(deliveries: dict[str, str]) -> list[str]:
    """Such as "chat: delivered"."""
    return [f"{TITLES.get(name, name)}: {said}" for name, said in deliveries.items()]
