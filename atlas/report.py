"""The report of a project: result.json, report.html and a learning curve as a picture."""

import base64
import io
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure

from atlas.decimals import decimal
from atlas.errors import explain_full_disk
from atlas.project import Project
from atlas.status import status
from atlas.types import utc_now

COLOURS = ("#2f6fde", "#d9622b", "#2a9d6f", "#8d5bd0", "#b58900", "#c43e6b")


def result(project: Project) -> dict[str, Any]:
    """{"rounds": [{"round", "labels", "accuracy": {level: {…}}, "errors": {name: {…}}, …}, …]}."""
    facts = status(project)
    kept = (
        "round",
        "labels",
        "queries",
        "sampler",
        "model",
        "accuracy",
        "errors",
        "label_to_queue_s",
    )
    closed = [row for row in facts["rounds"] if row["state"] == "closed" and row["model"]]
    return {
        "project": facts["name"],
        "written_at": utc_now().isoformat(timespec="seconds"),
        "levels": facts["levels"],
        "images": facts["images"],
        "model": facts["model"],
        "rounds": [{key: row[key] for key in kept} for row in closed],
    }


def write_report(project: Project, directory: Path) -> dict[str, Any]:
    """Write result.json, report.html and curve.png to `directory`; returns the result."""
    content = result(project)
    with explain_full_disk(directory):
        (directory / "result.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        (directory / "report.html").write_text(report_html(project), encoding="utf-8")
        (directory / "curve.png").write_bytes(curve_png(content))
    return content


def report_html(project: Project) -> str:
    """The report as one page that needs no network."""
    content = result(project)
    environment = Environment(
        loader=PackageLoader("atlas"), autoescape=select_autoescape(default=True)
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{value:.0%}"
    environment.filters["decimal"] = lambda value: "–" if value is None else decimal(value)
    curve = base64.b64encode(curve_png(content)).decode()
    template = environment.get_template("report.html")
    last = content["rounds"][-1] if content["rounds"] else {"accuracy": content["levels"]}
    return template.render(
        curve=curve,
        tasks=list(last["accuracy"]),
        quantities=list(last.get("errors", ())),
        **content,
    )


def curve_png(content: dict[str, Any]) -> bytes:
    """Accuracy per task over labels with its interval, as PNG bytes (8 × 4.5 inches)."""
    figure = Figure(figsize=(8, 4.5), dpi=130, layout="constrained")
    axes = figure.subplots()
    rows = content["rounds"]
    tasks = list(rows[-1]["accuracy"]) if rows else []
    for colour, task in zip(COLOURS, tasks, strict=False):
        measured = [row for row in rows if row["accuracy"][task]["accuracy"] is not None]
        labels = [row["labels"] for row in measured]
        numbers = [row["accuracy"][task] for row in measured]
        axes.plot(labels, [one["accuracy"] for one in numbers], "o-", color=colour, label=task)
        low, high = [one["low"] for one in numbers], [one["high"] for one in numbers]
        axes.fill_between(labels, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.set(xlabel="labels", ylabel="accuracy on the audit set", ylim=(0, 1))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    if tasks:
        axes.legend(frameon=False, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
