"""The taxonomy as a Label Studio labelling page.

One flat list of choices, leaves under a header for their parent, because nested choices lose
their hotkeys or their pre-filled guess (docs/label-studio.md). The result of a choice is its
`alias`, the path of the node.
"""

from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from atlas.oracle._hotkeys import Hotkeys
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, NodePath

TEMPLATE = "label_studio/page.xml"


@dataclass(frozen=True)
class Choice:
    """One thing to choose: what is shown, what is stored, which key chooses it."""

    text: str
    alias: str
    hotkey: str


@dataclass(frozen=True)
class Group:
    """Choices under one header; `name` is the control's for attributes, else empty."""

    title: str
    choices: tuple[Choice, ...]
    name: str = ""


def render(taxonomy: Taxonomy) -> str:
    """The labelling config as XML: controls `label` and one per attribute."""
    keys = Hotkeys()
    leaf_keys = dict(
        zip(taxonomy.leaves, keys.in_order(min(len(taxonomy.leaves), 10)), strict=False)
    )
    attributes = [
        _attribute(name, values, keys.by_initial(values))
        for name, values in taxonomy.attributes.items()
    ]
    rest = taxonomy.leaves[10:]
    leaf_keys |= dict(zip(rest, keys.in_order(len(rest)), strict=True))
    inner = [node for node in taxonomy.nodes if node not in set(taxonomy.leaves)]
    names = [node.rpartition("/")[2].lower() for node in inner]
    inner_keys = dict(zip(inner, keys.by_initial(names, shift=True), strict=True))
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(
        files("frontend_config").joinpath(TEMPLATE).read_text("utf-8")
    )
    return template.render(
        groups=_groups(taxonomy, leaf_keys, inner_keys),
        attributes=attributes,
        filter=keys.ran_out,
    )


def controls(taxonomy: Taxonomy) -> tuple[str, ...]:
    """The names of the page's controls, which are the keys of `Annotation.values`."""
    return (LABEL, *taxonomy.attributes)


def _groups(
    taxonomy: Taxonomy, leaf_keys: dict[NodePath, str], inner_keys: dict[NodePath, str]
) -> list[Group]:
    repeated = Counter(_name(leaf) for leaf in taxonomy.leaves)
    groups = []
    for parent in ["", *inner_keys]:
        choices = [
            Choice(
                _words(leaf) if repeated[_name(leaf)] > 1 else _name(leaf), leaf, leaf_keys[leaf]
            )
            for leaf in taxonomy.leaves
            if leaf.rpartition("/")[0] == parent
        ]
        if parent:
            text = f"{_words(parent)}, can't tell further"
            choices.append(Choice(text, parent, inner_keys[parent]))
        if choices:
            groups.append(Group(_words(parent), tuple(choices)))
    return groups


def _attribute(name: str, values: tuple[str, ...], hotkeys: list[str]) -> Group:
    choices = [Choice(_words(v), v, key) for v, key in zip(values, hotkeys, strict=True)]
    return Group(_words(name), tuple(choices), name)


def _name(path: NodePath) -> str:
    return _words(path.rpartition("/")[2])


def _words(path: str) -> str:
    return path.replace("_", " ").replace("/", " / ")
