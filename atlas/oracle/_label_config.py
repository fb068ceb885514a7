"""The taxonomy as a Label Studio labelling page.

One flat list of choices, leaves under a header for their parent, because nested choices lose
their hotkeys or their pre-filled guess (docs/label-studio.md). The result of a choice is its
`alias`, the path of the node.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from atlas.oracle._hotkeys import DIGITS, Hotkeys
from atlas.taxonomy import Taxonomy
from atlas.types import NodePath

TEMPLATE = "label_studio/page.xml"


@dataclass(frozen=True)
class Choice:
    """One thing to choose: what is shown, what is stored, which key chooses it."""

    text: str
    alias: str
    hotkey: str


@dataclass(frozen=True)
class Group:
    """Choices under one header; `name` is the control's beside the tree, else empty."""

    title: str
    choices: tuple[Choice, ...]
    name: str = ""


def render(taxonomy: Taxonomy, template: str = TEMPLATE) -> str:
    """The labelling config as XML: controls `label` and one per attribute and quantity.

    `template` is a file of `frontend_config`; what lost to the page is in its `candidates`.
    """
    hotkeys = Hotkeys()
    keys: dict[NodePath, str] = {}
    often, rest = taxonomy.leaves[: len(DIGITS)], taxonomy.leaves[len(DIGITS) :]
    keys.update(zip(often, hotkeys.in_order(len(often)), strict=True))
    attributes = [
        _attribute(name, values, hotkeys.by_initial(values))
        for name, values in taxonomy.attributes.items()
    ]
    keys.update(zip(rest, hotkeys.in_order(len(rest)), strict=True))
    inner = [node for node in taxonomy.nodes if node not in set(taxonomy.leaves)]
    names = [node.rpartition("/")[2] for node in inner]
    keys.update(zip(inner, hotkeys.by_initial(names, shift=True), strict=True))
    source = files("frontend_config").joinpath(template).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(source).render(
        groups=_groups(taxonomy, keys),
        attributes=attributes,
        quantities=[Group(_words(name), (), name) for name in taxonomy.quantities],
        filter=hotkeys.ran_out,
    )


def _groups(taxonomy: Taxonomy, keys: Mapping[NodePath, str]) -> list[Group]:
    leaves = set(taxonomy.leaves)
    parents = ["", *(node for node in taxonomy.nodes if node not in leaves)]
    text = _texts(taxonomy.nodes)
    groups = []
    for parent in parents:
        choices = [
            Choice(text[leaf], leaf, keys[leaf])
            for leaf in taxonomy.leaves
            if leaf.rpartition("/")[0] == parent
        ]
        if parent:
            choices.append(Choice(f"{text[parent]}, can't tell further", parent, keys[parent]))
        if choices:
            groups.append(Group(_words(parent), tuple(choices)))
    return groups


def _texts(nodes: Sequence[NodePath]) -> dict[NodePath, str]:
    """The last part of each path, or the whole path where that part is used twice."""
    names = {node: _words(node.rpartition("/")[2]) for node in nodes}
    uses = Counter(names.values())
    return {node: name if uses[name] == 1 else _words(node) for node, name in names.items()}


def _attribute(name: str, values: tuple[str, ...], hotkeys: list[str]) -> Group:
    choices = [Choice(_words(v), v, key) for v, key in zip(values, hotkeys, strict=True)]
    return Group(_words(name), tuple(choices), name)


def _words(path: str) -> str:
    return path.replace("_", " ").replace("/", " / ")
