"""Which fields of a schedule's form are wrong."""

from collections.abc import Iterator, Mapping
from typing import Any

from atlas.errors import SettingsError
from services.retraining.schedule import parse

BELOW, DRIFT = "below.", "drift."  # before a level's name: the fields of its bounds
GOOD = {"after_labels": 1, "per_day": 1}  # it starts, and something holds it back


class FieldError(SettingsError):
    """What is typed into a field is not even what a schedule is made of."""

    def __init__(self, field: str, said: str) -> None:
        super().__init__(said)
        self.field = field


def wrong_fields(content: Mapping[str, Any], tasks: list[str]) -> tuple[str, ...]:
    """The fields to mend of a schedule that is refused, in the order of the page.

    A field is wrong where it spoils a schedule that is good without it. Where none does, they do
    not go together: nothing starts the training, or nothing holds it back.

    Args:
        content: as `services.retraining.schedule.parse` refused it.
        tasks: levels and attributes, each with two fields.
    """
    parts = list(_parts(content, tasks))
    alone = tuple(field for field, part in parts if not _is_taken({**GOOD, **part}))
    if alone:
        return alone
    bounds = tuple(before + task for task in tasks for before in (BELOW, DRIFT))
    starts = ("cron", "after_labels", *bounds)
    if any(part for field, part in parts if field in starts):
        return ("pause_h", "per_day")
    return starts


def _parts(content: Mapping[str, Any], tasks: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field, and what of the content it says alone; nothing where it is empty."""

    def part(name: str) -> dict[str, Any]:
        return {name: content[name]} if content.get(name) else {}

    for name in ("cron", "zone", "after_labels"):
        yield name, part(name)
    for task in tasks:
        for before in (BELOW, DRIFT):
            name = before.removesuffix(".")
            bounds = {task: content[name][task]} if task in content[name] else {}
            yield before + task, {name: bounds} if bounds else {}
    yield "pause_h", part("pause_s")
    yield "per_day", part("per_day")
    start, _, end = content["quiet"].partition("-")
    is_half = bool(start) != bool(end)  # then the other half is missing
    yield "quiet_from", {} if is_half and start else part("quiet")
    yield "quiet_to", {} if is_half and end else part("quiet")


def _is_taken(content: Mapping[str, Any]) -> bool:
    try:
        parse(content)
    except SettingsError:
        return False
    return True
