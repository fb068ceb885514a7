"""Plots as HTML, and numbers as pages say them."""

from datetime import UTC, datetime
import json
import re

import pytest

from services.dashboard.figures import Table, figure_html, tone
from services.dashboard.formats import capitalize_first, duration, moment, percent, share, zoned
from services.dashboard.overview import curve


def test_a_figure_is_data_and_a_table() -> None:
    figure = {"data": [{"y": [1, 2], "name": "</script><b>"}], "layout": {"height": 200}}
    html = figure_html(figure, label='"Up"', table=Table(("a", "b"), [("x", "<i>")]))
    assert html.count("</script>") == 1
    content = re.search(r'<script type="application/json"[^>]*>(.*)</script>', html)
    assert content is not None and json.loads(content[1]) == figure
    assert 'aria-label="&#34;Up&#34;"' in html and "height: 200px" in html
    assert '<th scope="row">x</th><td>&lt;i&gt;</td>' in html


def test_a_figure_with_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        figure_html({"data": [{"y": [float("nan")]}]}, label="x")


def test_six_colours_come_round() -> None:
    assert [tone(place) for place in (0, 5, 6)] == ["var(--c0)", "var(--c5)", "var(--c0)"]


def measured(labels: int, accuracy: float | None) -> dict[str, object]:
    at = {"accuracy": accuracy, "low": 0.4, "high": 0.6}
    return {"labels": labels, "accuracy": {"leaf": at}}


def test_the_curve_begins_with_two_counts_of_labels() -> None:
    assert curve([], ["leaf"]) is None
    assert curve([measured(20, 0.5), measured(20, 0.5)], ["leaf"]) is None
    assert curve([measured(20, 0.5), measured(40, None)], ["leaf"]) is None
    html = curve([measured(20, 0.5), measured(40, 0.5)], ["leaf"])
    assert html is not None
    assert '<th scope="row">40</th><td>50.0% (40.0% to 60.0%)</td>' in html


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0.44, "0.4 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (7380, "2 h 3 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_times_and_shares() -> None:
    at = datetime(2026, 7, 1, 1, 5, tzinfo=UTC)
    assert moment(at) == moment(at.isoformat())
    assert moment("2026-07-01T03:05:00+02:00") == (
        '<time datetime="2026-07-01T01:05:00+00:00">2026-07-01 01:05 UTC</time>'
    )
    assert moment(None) == "–"
    assert zoned("2026-07-01T03:05+02:00", "Europe/Berlin") == (
        '<time datetime="2026-07-01T03:05:00+02:00">Wed 2026-07-01, 03:05</time> Europe/Berlin'
    )
    assert (share(1, 4), share(9, 4), share(1, 0)) == (25.0, 100.0, 0.0)
    assert (percent(0.934), percent(None)) == ("93.4%", "–")
    assert capitalize_first("not UTC") == "Not UTC"
