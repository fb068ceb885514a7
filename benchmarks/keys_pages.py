"""Candidate labelling pages for `keys_per_label.py`: the one Atlas ships and those that lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from atlas.oracle._label_config import render
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

SUBMIT = "Control+Enter"
COLOUR = "colour"

Truth = Mapping[str, str]
Values = dict[str, str]


@dataclass(frozen=True)
class LabellingPage:
    """A page and how the fewest keys answer with it.

    Attributes:
        name: in the table.
        config: taxonomy → Label Studio's XML.
        values: what is chosen in which control where the answer is this.
        data: what a task holds beside its picture, from the classes by probability, best first.
        submit: the keys.
    """

    name: str
    config: Callable[[Taxonomy], str]
    values: Callable[[Truth], Values]
    data: Callable[[Sequence[str]], dict[str, Any]]
    submit: str


def _flat(truth: Truth) -> Values:
    return {LABEL: truth[LABEL], COLOUR: truth[COLOUR]}


def _by_level(truth: Truth) -> Values:
    parent = truth[LABEL].partition("/")[0]
    return {"category": parent, f"in_{parent}": truth[LABEL], COLOUR: truth[COLOUR]}


def _nothing(ranked: Sequence[str]) -> dict[str, Any]:
    return {}


def _ranked(ranked: Sequence[str]) -> dict[str, Any]:
    return {"options": [{"value": one} for one in ranked]}


def _choices(name: str, values: Sequence[str], keys: Sequence[str], more: str = "") -> str:
    lines = "".join(
        f"<Choice value={quoteattr(value)} hotkey={quoteattr(key)}/>"
        for value, key in zip(values, keys, strict=True)
    )
    return f'<Choices name="{name}" toName="image" choice="single" {more}>{lines}</Choices>'


def _around(controls: str) -> str:
    return (
        '<View className="atlas"><View className="atlas-picture">'
        '<Image name="image" value="$image" width="300px"/></View>'
        f'<View className="atlas-answers">{controls}</View>'
        '<Header value="$reason" size="5"/></View>'
    )


def _levels(taxonomy: Taxonomy) -> str:
    """A control a level; that of the finer one shows the children of what is chosen above."""
    parents = list(dict.fromkeys(leaf.partition("/")[0] for leaf in taxonomy.leaves))
    parts = [_choices("category", parents, "qwer"[: len(parents)], 'required="true"')]
    keys = iter("1234567890yui")
    for parent in parents:
        leaves = [leaf for leaf in taxonomy.leaves if leaf.startswith(f"{parent}/")]
        shown = f'visibleWhen="choice-selected" whenTagName="category" whenChoiceValue="{parent}"'
        parts.append(_choices(f"in_{parent}", leaves, [next(keys) for _ in leaves], shown))
    return _around("".join(parts) + _colours(taxonomy))


def _by_rank(taxonomy: Taxonomy) -> str:
    """Every class, the likeliest first: a key is a rank, so keys mean another class each time."""
    ranked = '<Choices name="label" toName="image" choice="single" value="$options"/>'
    return _around(ranked + _colours(taxonomy))


def _colours(taxonomy: Taxonomy) -> str:
    colours = taxonomy.attributes[COLOUR]
    return _choices(COLOUR, colours, ["a", "s", "d", "f", "g", "z", "x"][: len(colours)])


PAGES = (
    LabellingPage("flat", render, _flat, _nothing, SUBMIT),
    LabellingPage("flat, Enter submits", render, _flat, _nothing, "Enter"),
    LabellingPage("levels that narrow", _levels, _by_level, _nothing, SUBMIT),
    LabellingPage("all by rank", _by_rank, _flat, _ranked, SUBMIT),
)
