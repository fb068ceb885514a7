"""One level or attribute: which classes it gets right, what it confuses, how far to trust it."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
import numpy as np

from atlas.accuracy import wilson
from atlas.analysis.automation import automated, most_at
from atlas.analysis.calibration import reliability
from atlas.analysis.classes import Judged, confusion, judge_audit, worst_mistakes
from atlas.analysis.stored import model_or_current
from atlas.errors import ModelError
from atlas.project import Project
from services.dashboard import level_figures as figures
from services.dashboard.pictures import gallery, short_names
from services.dashboard.rendering import render

MISTAKES = 12
TARGETS = (0.8, 0.9, 0.95, 0.99)
ASKED = 0.95  # where the slider begins
OPENS_AT = 0.5  # the slider, where nothing reaches that
STEPS = 101  # thresholds of the plot, over [0, 1]
TENTHS = 1000  # of a percent: what the slider goes by

router = APIRouter(include_in_schema=False)


@router.get("/levels/{level}")
def get_level(request: Request, level: str, model: str | None = None) -> Response:
    """The page of a level, for the model that answers now or for `model`."""
    project: Project = request.app.state.project
    tasks = project.taxonomy.tasks
    if level not in tasks:
        raise HTTPException(404, f"no level {level!r}; known: {', '.join(tasks)}")
    frame: dict[str, Any] = {"level": level, "levels": list(tasks), "model": "", "why_not": ""}
    try:
        model_id = model_or_current(project, model)
        judged = judge_audit(project, level, model_id) if model_id is not None else None
    except ModelError as error:
        return render(request, "level.html.j2", **{**frame, "why_not": str(error)}, shown=None)
    frame["model"] = model_id or ""
    if judged is None or not len(judged.ids):
        frame["why_not"] = (
            "There is no model yet; it is measured once the first round is answered."
            if judged is None
            else f"No audit image has a label at {level} yet: nothing to measure on."
        )
        return render(request, "level.html.j2", **frame, shown=None)
    return render(request, "level.html.j2", **frame, shown=_shown(project, judged))


def _shown(project: Project, judged: Judged) -> Mapping[str, Any]:
    """What there is to see where something was measured."""
    least = project.settings.audit.min_labels
    n = len(judged.ids)
    found = reliability(judged.sure, judged.right)
    steps = automated(judged.sure, judged.right, np.linspace(0, 1, STEPS).astype(np.float64))
    asked = _target(judged, ASKED, least)
    return {
        "n": n,
        "least": least,
        "accuracy": wilson(int(judged.right.sum()), n, min_labels=least),
        "calibration_error": found.error,
        "said": float(judged.sure.mean()),
        "confusion": figures.confusion_figure(judged.classes, confusion(judged)),
        "width": figures.confusion_width(len(judged.classes)),
        "classes": class_table(judged, least),
        "mistakes": worst_mistakes(judged, limit=MISTAKES),
        "gallery": gallery(project),
        "reliability": figures.reliability_figure(found),
        "coverage": figures.coverage_figure(steps),
        "slider": slider(judged, (asked["by_estimate"] or {"threshold": OPENS_AT})["threshold"]),
        "targets": [_target(judged, target, least) for target in TARGETS],
        "asked": asked,
        "tenths": tenths,
    }


def tenths(threshold: float) -> int:
    """A threshold in tenths of a percent, rounded down: it lets through who is just that sure."""
    return int(threshold * TENTHS + 1e-6)  # 0.763 is a little less than 763 thousandths


def slider(judged: Judged, start: float) -> dict[str, Any]:
    """What the slider tells at each tenth of a percent, in columns as `Automated` has them.

    Its label rounds `start`, where it opens, down to "at". The step there is of `start` itself,
    so that it tells what the tile tells, also where an image lies in between.
    """
    at = tenths(start)
    thresholds = np.arange(TENTHS + 1) / TENTHS
    thresholds[at] = start
    found = automated(judged.sure, judged.right, thresholds)
    return {
        "at": at,
        "n": found.n,
        "covered": found.covered.tolist(),
        "correct": found.correct.tolist(),
        "low": np.nan_to_num(found.low).round(6).tolist(),
        "high": np.nan_to_num(found.high).round(6).tolist(),
    }


def class_table(judged: Judged, least: int) -> list[dict[str, Any]]:
    """A row a class, the worst first and those without audit images last.

    "found": how many of its images are predicted as it. "meant": how many of the images predicted
    as it are of it. "instead": what it is most often taken for.
    """
    counts = confusion(judged)
    short = short_names(judged.classes)
    rows = []
    for index, name in enumerate(judged.classes):
        right, size, said = counts[index, index], counts[index].sum(), counts[:, index].sum()
        others = np.where(np.arange(len(counts)) == index, 0, counts[index])
        rows.append(
            {
                "class": name,
                "found": wilson(int(right), int(size), min_labels=least),
                "meant": wilson(int(right), int(said), min_labels=least),
                "instead": short[int(others.argmax())] if others.any() else "",
                "instead_count": int(others.max()),
            }
        )
    return sorted(rows, key=lambda row: _worst_first(row["found"].accuracy))


def _worst_first(accuracy: float | None) -> float:
    return 2.0 if accuracy is None else accuracy


def _target(judged: Judged, target: float, least: int) -> dict[str, Any]:
    sure, right = judged.sure, judged.right
    return {
        "target": target,
        "by_estimate": most_at(sure, right, target=target, surely=False, least=least),
        "surely": most_at(sure, right, target=target, surely=True, least=least),
    }
