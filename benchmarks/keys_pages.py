"""The labelling pages that `python benchmarks/keys_per_label.py --out DIR` compares.

The page Atlas ships, and the candidates of `frontend_config/label_studio/candidates`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.oracle._label_config import TEMPLATE, render
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

COLOUR = "colour"
CANDIDATES = "label_studio/candidates"

Truth = Mapping[str, str]
Values = dict[str, str]


@dataclass(frozen=True)
class LabellingPage:
    """A page and how the fewest keys answer with it.

    Attributes:
        name: in the table.
        template: its file in `frontend_config`.
        values: what is chosen in which control where the answer is this.
        data: what a task holds beside its picture, from the classes by probability, best first.
        submit: the keys.
    """

    name: str
    template: str
    values: Callable[[Truth], Values]
    data: Callable[[Sequence[str]], dict[str, Any]]
    submit: str = "Enter"

    def config(self, taxonomy: Taxonomy) -> str:
        """Label Studio's XML."""
        return render(taxonomy, self.template)


def _flat(truth: Truth) -> Values:
    return {LABEL: truth[LABEL], COLOUR: truth[COLOUR]}


def _by_level(truth: Truth) -> Values:
    parent = truth[LABEL].partition("/")[0]
    return {"parent": parent, f"in_{parent}": truth[LABEL], COLOUR: truth[COLOUR]}


def _nothing(ranked: Sequence[str]) -> dict[str, Any]:
    return {}


def _ranked(ranked: Sequence[str]) -> dict[str, Any]:
    return {"options": [{"value": one} for one in ranked]}


PAGES = (
    LabellingPage("shipped: flat", TEMPLATE, _flat, _nothing),
    LabellingPage("shipped, Ctrl+Enter submits", TEMPLATE, _flat, _nothing, "Control+Enter"),
    LabellingPage("a control a level", f"{CANDIDATES}/levels.xml", _by_level, _nothing),
    LabellingPage("classes by rank", f"{CANDIDATES}/ranked.xml", _flat, _ranked),
)
