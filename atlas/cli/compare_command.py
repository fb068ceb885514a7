"""compare-heads: cross-validates heads and balancers on the labels there are."""

from pathlib import Path
from typing import Annotated, Any

import typer

from atlas import plugins
from atlas.cli import options
from atlas.cli.output import Json, emit, keeping_nothing, progress_bar, say, stdout, table
from atlas.decimals import decimal
from atlas.project import Project
from atlas.settings import HeadSettings
from atlas.settings_file import change_settings


def compare_heads(
    directory: options.Directory,
    heads: Annotated[str, typer.Option(help="With commas; empty: all there are.")] = "",
    balancers: Annotated[str, typer.Option(help="With commas; empty: all there are.")] = "",
    folds: Annotated[
        int | None, typer.Option(help="Parts of the labels; left out: head.folds.", min=2)
    ] = None,
    repeats: Annotated[int, typer.Option(help="How often folds are drawn.", min=1)] = 3,
    record: Annotated[bool, typer.Option(help="Write the winner into atlas.toml.")] = True,
    json: Json = False,
) -> None:
    """Compare heads and balancers on the labelled images, and keep the winner.

    Each combination is cross-validated on the same folds. Negative transfer is what a head of all
    tasks loses against one of its kind for a single task. The best mean over tasks wins; among
    those within a standard error of it, the default or else the smallest does.
    """
    from atlas.comparing_heads import Plan
    from atlas.comparing_heads import compare_heads as run
    from atlas.train import labelled_data

    project = Project(directory)
    settings = project.settings.head
    plan = Plan(
        heads=_names("atlas.heads", heads),
        balancers=_names("atlas.balancers", balancers),
        folds=folds or settings.folds,
        repeats=repeats,
    )
    data = labelled_data(project)
    seed = project.settings.seed
    with keeping_nothing(), progress_bar("comparing", unit="fits") as advance:
        found = run(data, project.taxonomy, settings, plan, seed=seed, progress=advance)
    found["recorded"] = record
    if record:
        _record(project.directory, settings, found["winner"])
    if json:
        emit(found)
        return
    _print(found)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("compare-heads")(compare_heads)


def _names(package: str, chosen: str) -> tuple[str, ...]:
    """The plugins that an option names, or all; each once."""
    if not chosen:
        return plugins.available(package)
    names = tuple(dict.fromkeys(name.strip() for name in chosen.split(",")))
    for name in names:
        plugins.load(package, name)
    return names


def _record(directory: Path, before: HeadSettings, winner: dict[str, str]) -> None:
    """Set head.name and head.balancer; arguments of another head or balancer do not stay."""
    values: dict[str, object] = {}
    for key, arguments, now in (
        ("name", "args", winner["head"]),
        ("balancer", "balancer_args", winner["balancer"]),
    ):
        if getattr(before, key) == now:
            continue
        if getattr(before, arguments):
            values[arguments] = {}
        values[key] = now
    if values:
        change_settings(directory, "head", values)


def _print(found: dict[str, Any]) -> None:
    tasks = list(found["tasks"])
    winner = found["winner"]
    rows = sorted(found["combinations"], key=_mean, reverse=True)
    names = [[f"{row['head']}{_mark(row, winner)}", row["balancer"]] for row in rows]
    counts = ", ".join(f"{task} {labels}" for task, labels in found["tasks"].items())
    table(
        ["head", "balancer", *tasks, "mean", "fit s"],
        [
            [
                *name,
                *(_score(row["tasks"][task]) for task in tasks),
                _share(row["mean"]),
                f"{row['seconds']:.2f}",
            ]
            for name, row in zip(names, rows, strict=True)
        ],
        title=f"out of fold, 95% interval; labels: {counts}",
        words=2,
    )
    if any("error" in row["tasks"][task] for row in rows for task in tasks):
        stdout.print("± is a mean error, with how much of the median's error it saves")
    table(
        ["head", "balancer", *tasks],
        [
            [*name, *(_points(row["tasks"][task]) for task in tasks)]
            for name, row in zip(names, rows, strict=True)
        ],
        title="all tasks together minus one alone, in points; below 0: negative transfer",
        words=2,
    )
    for one in found["impossible"]:
        say(f"{one['head']} with {one['balancer']}: not possible, {one['reason']}")
    kept = "recorded in atlas.toml" if found["recorded"] else "not recorded"
    stdout.print(f"* {winner['head']} with {winner['balancer']}: {winner['reason']}; {kept}")


def _mean(row: dict[str, Any]) -> float:
    mean = row["mean"]["mean"]
    return -1.0 if mean is None else float(mean)


def _mark(row: dict[str, Any], winner: dict[str, str]) -> str:
    return " *" if (row["head"], row["balancer"]) == (winner["head"], winner["balancer"]) else ""


def _score(task: dict[str, Any]) -> str:
    """An accuracy, or of a quantity its mean error and the share of the median's that it saves."""
    text = _share(task["score"])
    return f"±{decimal(task['error'], 2)}, {text}" if "error" in task else text


def _share(one: dict[str, float | None]) -> str:
    mean, low, high = one["mean"], one["low"], one["high"]
    if mean is None:
        return "–"
    if low is None or high is None:
        return f"{mean:.1%}"
    return f"{mean:.1%} ({100 * max(low, 0):.0f}–{100 * min(high, 1):.0f})"


def _points(task: dict[str, Any]) -> str:
    one = task["transfer"]
    if one["mean"] is None:
        return "–"
    text = f"{100 * one['mean']:+.1f}"
    if one["low"] is None:
        return text
    return f"{text} ({100 * one['low']:+.1f},{100 * one['high']:+.1f})"
