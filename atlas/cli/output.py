"""What all commands share of printing: JSON alone on stdout, everything else on stderr."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import json
import sys
from typing import Annotated, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
import typer

from atlas.decimals import decimal

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON alone on stdout.")]


class Advance(Protocol):
    """Called with how much is done and how much there is."""

    def __call__(self, done: int, total: int, /) -> None: ...  # noqa: D102


def complain(message: str) -> None:
    """One error on stderr."""
    stderr.print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True)


def say(message: str) -> None:
    """A line for people, on stderr, so that stdout stays for results."""
    stderr.print(message, soft_wrap=True)


def emit(content: Any) -> None:
    """JSON on stdout."""
    json.dump(content, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


@contextmanager
def progress_bar(title: str, unit: str = "images") -> Iterator[Advance]:
    """A bar with done/total, rate and time left; silent where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=False) as progress:
        task = progress.add_task(title, total=None, rate="")

        def advance(done: int, total: int, /) -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:,.0f} {unit}/s" if speed else ""
            progress.update(task, completed=done, total=total, rate=rate)

        yield advance


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on stdout; all columns but the first are right-aligned."""
    result = Table(title=title or None, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        result.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        result.add_row(*(_escape(cell) for cell in row))
    stdout.print(result)


def accuracy_cell(one: Mapping[str, Any]) -> str:
    """An accuracy for a table: "83% (77–88)", or why there is none."""
    if one["n"] == 0:
        return "no audit labels"
    text = f"{one['accuracy']:.0%} ({one['low']:.0%}–{one['high']:.0%})".replace("%–", "–")
    return text if one["state"] == "ok" else f"{text} too few"


def error_cell(one: Mapping[str, Any]) -> str:
    """How far off a number is, for a table: "MAE 3.2 (2.8–3.6)", or why it is not known."""
    if one["n"] == 0:
        return "no audit labels"
    text = f"MAE {decimal(one['mean_absolute_error'])}"
    if one["low"] is not None:
        text += f" ({decimal(one['low'])}–{decimal(one['high'])})"
    return text if one["state"] == "ok" else f"{text} too few"


def measured_cell(one: Mapping[str, Any]) -> str:
    """`accuracy_cell` or `error_cell`, whichever it is."""
    return error_cell(one) if "mean_absolute_error" in one else accuracy_cell(one)


def gain_cell(one: Mapping[str, Any]) -> str:
    """A forecast for a table: "+1.9 points (0.3–5.3), pays", or why there is none."""
    if one["gain"] is None:
        return "too few rounds to say"
    gain, low, high = (100 * one[key] for key in ("gain", "low", "high"))
    return f"{gain:+.1f} points ({low:.1f}–{high:.1f}), {one['state']}"


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
