"""Plots for pages: data that the page's own script hands to plotly, and a table that says it all.

Colours are written as "var(--c0)": the script puts in what they are in the light or the dark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from typing import Any
from uuid import uuid4

from markupsafe import Markup

HEIGHT = 340  # pixels, where the figure's layout says none
SERIES = 6  # colours --c0 to --c5


@dataclass(frozen=True)
class Table:
    """A figure in words: for screen readers, for copying, and where no script runs.

    Attributes:
        head: a title for each column.
        rows: each as long as `head`; the first cell names the row.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def tone(place: int) -> str:
    """The colour of the series at a place, 0 or more."""
    return f"var(--c{place % SERIES})"


def figure_html(figure: Mapping[str, Any], *, label: str, table: Table | None = None) -> Markup:
    """A plot as HTML that keeps its height while it loads.

    Args:
        figure: {"data": […], "layout": {…}} as plotly.js takes it, such as a graph object's
            `to_dict()`. Fonts, grounds and grid lines need not be said: the script sets them.
        label: one sentence on what it shows.
        table: the same as a table.

    Raises:
        ValueError: a number of it is not finite.
    """
    name = f"figure-{uuid4().hex[:12]}"
    # "<" could end the script element that the JSON stands in.
    content = json.dumps(figure, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    height = int(figure.get("layout", {}).get("height", HEIGHT))
    return Markup(
        '<div class="plot" role="img" aria-label="{label}" data-figure="{name}"'
        ' style="height: {height}px"></div>\n'
        '<script type="application/json" id="{name}">{content}</script>\n{table}'
    ).format(
        label=label, name=name, height=height, content=Markup(content), table=_table(table, label)
    )


def _table(table: Table | None, label: str) -> Markup:
    if table is None:
        return Markup("")
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(one) for one in table.head)
    body = Markup("\n").join(_row(row) for row in table.rows)
    return Markup(
        '<details class="as-table"><summary>The same as a table</summary>\n'
        '<div class="scroll" tabindex="0" role="region" aria-label="{label}, as a table">'
        '<table aria-label="{label}, as a table">\n'
        "<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div></details>"
    ).format(label=label, head=head, body=body)


def _row(row: Sequence[str]) -> Markup:
    first, *others = row
    cells = Markup("").join(Markup("<td>{}</td>").format(one) for one in others)
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(first, cells)
