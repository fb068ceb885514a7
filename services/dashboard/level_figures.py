"""The plots of a level's page."""

from typing import Any

from markupsafe import Markup
import numpy as np
from numpy.typing import NDArray

from atlas.analysis.automation import Automated
from atlas.analysis.calibration import Reliability
from services.dashboard.figures import Table, figure_html
from services.dashboard.formats import percent
from services.dashboard.pictures import short_names

CELL, MARGIN = 22, 150  # pixels
WIDE_CELL = 64  # at most, for few classes
NUMBERED = 16  # classes up to which each cell says its count
THRESHOLDS_LISTED = (0, 50, 60, 70, 75, 80, 85, 90, 95, 98, 99)


def confusion_width(classes: int) -> tuple[int, int]:
    """(least, most) pixels that a confusion matrix should be wide."""
    return classes * CELL + MARGIN, classes * WIDE_CELL + MARGIN


def confusion_figure(classes: tuple[str, ...], counts: NDArray[np.int64]) -> Markup:
    """What people say (down) against what the model says (across).

    Args:
        classes: K names.
        counts: (K, K) audit images.
    """
    names, size = short_names(classes), len(classes)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares.round(4).tolist(),
        "customdata": counts.tolist(),
        "colorscale": [[0, "var(--card)"], [1, "var(--heat)"]],
        "textfont": {"color": "var(--ink)"},
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "people say %{y}, the model %{x}<br>"
        "%{customdata} of them (%{z:.1%})<extra></extra>",
    }
    if size <= NUMBERED:
        trace |= {"text": _texts(counts), "texttemplate": "%{text}"}
    tilt = -45 if size > 6 else 0
    axis = {"type": "category", "showgrid": False, "zeroline": False, "dtick": 1}
    layout = {
        "height": min(size * 52, 340) + 130 if size <= 8 else size * CELL + MARGIN,
        "font": {"size": 11 if size > NUMBERED else 13},
        "xaxis": {**axis, "title": {"text": "the model says", "standoff": 12}, "tickangle": tilt},
        "yaxis": {**axis, "title": {"text": "people say", "standoff": 16}, "autorange": "reversed"},
    }
    rows = [
        [names[a], names[b], str(counts[a, b]), percent(float(shares[a, b]))]
        for a, b in np.argwhere(counts)
    ]
    return figure_html(
        {"data": [trace], "layout": layout},
        label=f"Confusion matrix of {size} classes: what people say against what the model says",
        table=Table(["people say", "the model says", "images", "share of what people say"], rows),
    )


def _texts(counts: NDArray[np.int64]) -> list[list[str]]:
    """A count a cell, nothing where it is 0."""
    return [[str(one) if one else "" for one in row] for row in counts.tolist()]


def reliability_figure(found: Reliability) -> Markup:
    """How often the model was right against how sure it was, with each bin's interval."""
    some = np.flatnonzero(found.n)
    right, sure = found.right[some], found.sure[some]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": sure.round(4).tolist(),
        "y": right.round(4).tolist(),
        "customdata": [
            [int(found.n[bin_]), float(found.low[bin_]), float(found.high[bin_])] for bin_ in some
        ],
        "marker": {"size": 11, "color": "var(--c0)"},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": (found.high[some] - right).round(4).tolist(),
            "arrayminus": (right - found.low[some]).round(4).tolist(),
            "color": "var(--c0)",
            "thickness": 2,
            "width": 5,
        },
        "hovertemplate": "sure %{x:.1%}, right %{y:.1%} (%{customdata[1]:.1%} to "
        "%{customdata[2]:.1%})<br>%{customdata[0]} images<extra></extra>",
        "showlegend": False,
    }
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": "var(--edge)", "dash": "dot", "width": 1.5},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    layout = {
        "height": 360,
        "xaxis": {"title": {"text": "how sure it was"}, "tickformat": ".0%", "range": [0, 1.03]},
        "yaxis": {"title": {"text": "how often right"}, "tickformat": ".0%", "range": [0, 1.03]},
    }
    rows = [
        [
            f"{found.edges[bin_]:.0%} to {found.edges[bin_ + 1]:.0%}",
            percent(float(found.sure[bin_])),
            percent(float(found.right[bin_])),
            f"{percent(float(found.low[bin_]))} to {percent(float(found.high[bin_]))}",
            str(found.n[bin_]),
        ]
        for bin_ in some
    ]
    return figure_html(
        {"data": [diagonal, points], "layout": layout},
        label="Calibration: how often the model is right against how sure it says it is",
        table=Table(["sure", "on average", "right", "95% interval", "images"], rows),
    )


def coverage_figure(found: Automated) -> Markup:
    """Coverage, and accuracy with its band, against the threshold."""
    some = np.flatnonzero(found.covered)
    x = found.thresholds[some].round(4).tolist()
    accuracy = (found.correct[some] / found.covered[some]).round(4).tolist()
    low, high = found.low[some].round(4).tolist(), found.high[some].round(4).tolist()
    line = {"type": "scatter", "mode": "lines"}
    band = {
        **line,
        "x": x + x[::-1],
        "y": high + low[::-1],
        "fill": "toself",
        "fillcolor": "var(--c0)",
        "opacity": 0.16,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    right = {
        **line,
        "name": "right, of those it answers",
        "x": x,
        "y": accuracy,
        "line": {"color": "var(--c0)", "width": 2.5},
        "hovertemplate": "%{y:.1%}",
    }
    covered = {
        **line,
        "name": "answered by the model",
        "x": found.thresholds.round(4).tolist(),
        "y": (found.covered / max(found.n, 1)).round(4).tolist(),
        "line": {"color": "var(--c1)", "width": 2.5, "dash": "dash"},
        "hovertemplate": "%{y:.1%}",
    }
    layout = {
        "height": 340,
        "hovermode": "x unified",
        "xaxis": {
            "title": {"text": "at least this sure"},
            "tickformat": ".0%",
            "range": [0, 1.01],
            "showgrid": False,
        },
        "yaxis": {"tickformat": ".0%", "range": [0, 1.03]},
    }
    return figure_html(
        {"data": [band, right, covered], "layout": layout},
        label="How many images the model answers, and how many of those it gets right",
        table=Table(
            ["at least this sure", "answered", "right", "95% interval", "images"],
            [_row(found, index) for index in THRESHOLDS_LISTED],
        ),
    )


def _row(found: Automated, index: int) -> list[str]:
    at = found.at(index)
    ends = "–" if at["low"] is None else f"{percent(at['low'])} to {percent(at['high'])}"
    return [
        f"{at['threshold']:.0%}",
        percent(at["coverage"]),
        percent(at["accuracy"]),
        ends,
        str(at["n"]),
    ]
