"""What all commands share of printing: JSON alone on stdout, everything else on stderr."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import json
import sys
from typing import Annotated, Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text
import typer

from atlas.decimals import decimal
from atlas.errors import Stopped

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

BAR_WIDTH = 40
GAP = 2  # between two columns: one character of padding, one of the box

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON alone on stdout.")]


class Advance(Protocol):
    """Called with how much is done and how much there is, and what to say below the bar."""

    def __call__(self, done: int, total: int, /, note: str = "") -> None: ...  # noqa: D102


class _Bar(Progress):
    """A bar with a line below it."""

    note = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        if self.note:
            yield Text(f"  {self.note}", style="dim")


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
    # Where the terminal is narrow only the bar gives way.
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(max_width=BAR_WIDTH)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    with _Bar(*columns, console=stderr, transient=False) as progress:
        task = progress.add_task(title, total=None, rate="")

        def advance(done: int, total: int, /, note: str = "") -> None:
            speed = progress.tasks[0].speed
            progress.note = note
            rate = f"{_rate(speed)} {unit}/s" if speed else ""
            progress.update(task, completed=done, total=total, rate=rate)

        yield advance


@contextmanager
def keeping_nothing() -> Iterator[None]:
    """Ctrl-C ends work that only looks, and says so.

    Raises:
        Stopped: it came.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped("interrupted; nothing was changed") from error


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", *, words: int = 1
) -> None:
    """A table on stdout; the first `words` columns are left-aligned, the others right-aligned.

    Where the terminal is too narrow cells are broken into lines, and nothing is cut off.
    """
    result = Table(
        header_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    widths = column_widths([columns, *rows], stdout.width - GAP * (len(columns) - 1))
    for number, (column, width) in enumerate(zip(columns, widths, strict=True)):
        justify: JustifyMethod = "left" if number < words else "right"
        result.add_column(column, justify=justify, width=width, overflow="fold")
    for row in rows:
        result.add_row(*(_escape(cell) for cell in row))
    if title:  # a table's own would be broken where the table ends
        stdout.print(Text(title, style="italic"))
    stdout.print(result)


def column_widths(lines: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """How wide each column is to be so that no word or name is broken; None: no room for that.

    What the longest words leave goes one by one to the column that needs most lines, so that the
    table becomes as low as it can.

    Args:
        lines: of cells.
        room: characters for all columns together.
    """
    columns = list(zip(*lines, strict=True))
    whole = [max(map(len, cells)) for cells in columns]
    words = [max(len(word) for cell in cells for word in cell.split(" ")) for cells in columns]
    widths = [whole[0], *words[1:]]  # the first column holds names
    if sum(widths) > room:
        return [None] * len(columns)
    for _ in range(min(room, sum(whole)) - sum(widths)):
        widths[max(range(len(columns)), key=lambda one: whole[one] / widths[one])] += 1
    return list(widths)


def accuracy_cell(one: Mapping[str, Any]) -> str:
    """An accuracy for a table: "83% (77–88)", or why there is none."""
    if one["n"] == 0:
        return "no audit labels"
    text = f"{one['accuracy']:.0%} ({100 * one['low']:.0f}–{100 * one['high']:.0f})"
    return text if one["state"] == "ok" else f"{text} too few"


def error_cell(one: Mapping[str, Any]) -> str:
    """How far off a number is, for a table: "MAE 3.2 (2.8–3.6)", or why it is not known."""
    if one["n"] == 0:
        return "no audit labels"
    text = f"MAE {decimal(one['mean_absolute_error'], 2)}"
    if one["low"] is not None:
        text += f" ({decimal(one['low'], 2)}–{decimal(one['high'], 2)})"
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


def _rate(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else decimal(speed, 2)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
