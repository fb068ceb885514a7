"""`atlas schedule show`, `set` and `off`."""

import re
from typing import Annotated, Any

import typer

from atlas.cli import options
from atlas.cli.output import Json, emit, say, stdout, table
from atlas.errors import SettingsError
from atlas.project import Project

SECONDS = {"m": 60, "h": 3600, "d": 86400}

Kind = Annotated[str, typer.Argument(help="heads or finetune.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="When Atlas trains by itself.", no_args_is_help=True)
    group.command("show")(show)
    group.command("set")(set_schedule)
    group.command("off")(off)
    app.add_typer(group, name="schedule")


def show(directory: options.Directory, json: Json = False) -> None:
    """Show the schedules, the next five times and what was decided last."""
    from services.retraining.keeping import overview

    found = overview(Project(directory))
    if json:
        emit(found)
        return
    for kind, one in found.items():
        _tell(kind, one)


def set_schedule(
    directory: options.Directory,
    kind: Kind,
    cron: Annotated[str, typer.Option(help="Minute, hour, day, month, weekday: “0 3 * * *”.")] = "",
    zone: Annotated[str, typer.Option(help="Of its hours and days.")] = "UTC",
    after_labels: Annotated[
        int | None, typer.Option(help="After so many new labels.", min=1)
    ] = None,
    below: Annotated[
        list[str] | None,
        typer.Option(help="When a level's accuracy is below: leaf=0.8.", show_default=False),
    ] = None,
    drift: Annotated[
        list[str] | None,
        typer.Option(
            help="When a level's guesses on new images are less sure: leaf=0.1.", show_default=False
        ),
    ] = None,
    pause: Annotated[str, typer.Option(help="Least time between two: 30m, 6h, 1d.")] = "",
    quiet: Annotated[str, typer.Option(help="Hours without any: 08:00-18:00.")] = "",
    per_day: Annotated[int | None, typer.Option(help="At most so many a day.", min=1)] = None,
    json: Json = False,
) -> None:
    """Train by the clock, on new labels, falling accuracy or drift, whichever comes first.

    This replaces the schedule that there was. A running Atlas heeds it at its next tick.
    """
    from services.retraining import keeping

    content = {
        "cron": cron,
        "zone": zone,
        "after_labels": after_labels,
        "below": dict(_bound("below", one) for one in below or []),
        "drift": dict(_bound("drift", one) for one in drift or []),
        "pause_s": _seconds(pause),
        "quiet": quiet,
        "per_day": per_day,
    }
    project = Project(directory)
    keeping.set_schedule(project, kind, content)
    found = keeping.overview(project)[kind]
    if json:
        emit(found)
    else:
        _tell(kind, found)


def off(directory: options.Directory, kind: Kind, json: Json = False) -> None:
    """Train only when asked."""
    from services.retraining.keeping import remove_schedule

    was_there = remove_schedule(Project(directory), kind)
    if json:
        emit({"kind": kind, "removed": was_there})
    else:
        stdout.print(f"{kind}: " + ("no longer scheduled" if was_there else "was not scheduled"))


def _tell(kind: str, one: dict[str, Any]) -> None:
    if one["schedule"] is None and one["set_at"] is None:
        stdout.print(f"{kind}: no schedule")
    elif one["schedule"] is None:
        stdout.print(f"{kind}: {one['now']}")  # why it cannot be read
    else:
        stdout.print(f"{kind}: {_in_words(one['schedule'])}")
        stdout.print(f"  now: {one['now']}")
        for at in one["next"]:
            stdout.print(f"  next: {at.replace('T', ' ')}")
    if one["decisions"]:
        rows = [
            [decision["at"][:19].replace("T", " "), decision["reason"]]
            for decision in one["decisions"]
        ]
        table(["decided (UTC)", "what"], rows, words=2)
    elif one["schedule"] is not None:
        say("  nothing decided yet: `atlas up` does that")


def _in_words(schedule: dict[str, Any]) -> str:
    """What starts a training, then what holds it back."""
    cron, labels, per_day = (schedule[key] for key in ("cron", "after_labels", "per_day"))
    said = [f"at “{cron}”"] if cron else []
    said += [f"after {labels} new labels"] if labels else []
    said += [f"with {level} below {100 * bound:g}%" for level, bound in schedule["below"].items()]
    said += [
        f"with {level} drifted by {100 * bound:g} points"
        for level, bound in schedule["drift"].items()
    ]
    said += [f"{_span(schedule['pause_s'])} apart"] if schedule["pause_s"] else []
    said += [f"not in {schedule['quiet']}"] if schedule["quiet"] else []
    said += [f"at most {per_day} a day"] if per_day else []
    return f"{', '.join(said)} ({schedule['zone']})"


def _span(seconds: float) -> str:
    """Such as 6h, in the largest unit that makes it whole."""
    unit = next((one for one in "dhm" if seconds % SECONDS[one] == 0), "m")
    return f"{seconds / SECONDS[unit]:g}{unit}"


def _seconds(text: str) -> float:
    """Seconds of such as "6h"; of nothing 0.

    Raises:
        SettingsError: anything else.
    """
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if found is None:
        raise SettingsError(f"--pause {text!r}: expected such as 30m, 6h or 1d")
    return float(found[1]) * SECONDS[found[2]]


def _bound(option: str, text: str) -> tuple[str, float]:
    """Level and bound of such as "leaf=0.8".

    Raises:
        SettingsError: anything else.
    """
    level, _, bound = text.partition("=")
    try:
        return level, float(bound)
    except ValueError as error:
        raise SettingsError(f"--{option} {text!r}: expected such as leaf=0.1") from error
