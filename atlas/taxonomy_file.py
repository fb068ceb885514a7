"""Reads and writes taxonomy files (YAML or JSON).

    levels: [kind, species]          # coarse to fine
    tree:                            # nested names; the innermost are lists
      bird: [eagle, owl]
      fish: [pike, carp]
    attributes:                      # optional tasks beside the tree
      colour: [light, dark]
    quantities: [length_cm]          # optional tasks that are numbers; the name tells the unit

Instead of `tree`, `parents` may list child → parent edges (parent null at the top); then names
are unique and a cycle is an error.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import TaxonomyError
from atlas.taxonomy import Taxonomy
from atlas.types import NodePath


class _StrictLoader(yaml.SafeLoader):
    """Names stay as written, and a name twice under one parent is an error.

    PyYAML alone would keep the last of two equal keys, and read a valve that is `on` or `off` as
    True or False.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":merge"))]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise TaxonomyError(f"duplicate path: {key!r} stands twice under one parent")
        return super().construct_mapping(node, deep=deep)


def load_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy file.

    Raises:
        TaxonomyError: unreadable, a cycle, a duplicate path, a single-child node, a wrong shape.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  a SafeLoader
    except OSError as error:
        raise TaxonomyError(f"cannot read the taxonomy {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaxonomyError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(content, dict) or ("tree" in content) == ("parents" in content):
        raise TaxonomyError(f"{path} needs either `tree` or `parents` (and `levels`)")
    unknown = set(content) - {"levels", "tree", "parents", "attributes", "quantities"}
    if unknown:
        raise TaxonomyError(f"{path}: unknown key {', '.join(sorted(map(str, unknown)))}")
    if "tree" in content:
        leaves = _walk(content["tree"], prefix=(), seen=())
    else:
        leaves = _from_parents(content["parents"])
    depth = max((leaf.count("/") + 1 for leaf in leaves), default=0)
    levels = content.get("levels") or [f"level_{i + 1}" for i in range(depth)]
    if not isinstance(levels, list):
        raise TaxonomyError(f"`levels` is a list of names, coarse to fine; got {levels!r}")
    return Taxonomy(
        tuple(map(str, levels)), tuple(leaves), _attributes(content), _quantities(content)
    )


def save_taxonomy(taxonomy: Taxonomy, path: Path) -> None:
    """Write a taxonomy so that `load_taxonomy` gives it back."""
    tree: dict[str, Any] = {}
    for leaf in taxonomy.leaves:
        branch = tree
        *above, name = leaf.split("/")
        for part in above:
            branch = branch.setdefault(part, {})
        branch[name] = None
    content = {
        "levels": list(taxonomy.levels),
        "tree": tree,
        "attributes": {name: list(values) for name, values in taxonomy.attributes.items()},
    }
    if taxonomy.quantities:  # a file without any stays as it was
        content["quantities"] = list(taxonomy.quantities)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _attributes(content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    attributes = content.get("attributes") or {}
    if not isinstance(attributes, Mapping) or not all(
        isinstance(values, list) for values in attributes.values()
    ):
        raise TaxonomyError(f"`attributes` maps each name to a list of classes; got {attributes!r}")
    return {str(name): tuple(map(str, values)) for name, values in attributes.items()}


def _quantities(content: Mapping[str, Any]) -> tuple[str, ...]:
    quantities = content.get("quantities") or []
    if not isinstance(quantities, list) or any(isinstance(one, dict | list) for one in quantities):
        raise TaxonomyError(
            f"`quantities` is a list of names, such as [length_cm]; got {quantities!r}"
        )
    return tuple(map(str, quantities))


def _walk(branch: Any, prefix: tuple[str, ...], seen: tuple[int, ...]) -> list[NodePath]:
    if id(branch) in seen:  # a YAML anchor that contains itself
        raise TaxonomyError(f"cycle: {'/'.join(prefix)!r} contains itself")
    if prefix and not branch and isinstance(branch, dict | list):
        raise TaxonomyError(f"{'/'.join(prefix)!r} is empty; leave out its brackets to make a leaf")
    if isinstance(branch, Mapping):
        found = []
        for name, below in branch.items():
            path = (*prefix, _name(name))
            found += ["/".join(path)] if below is None else _walk(below, path, (*seen, id(branch)))
        return found
    if isinstance(branch, list) and not any(isinstance(item, dict | list) for item in branch):
        return ["/".join((*prefix, _name(item))) for item in branch]
    raise TaxonomyError(
        f"under {'/'.join(prefix) or 'tree'!r}: expected a mapping or list of names, got {branch!r}"
    )


def _from_parents(parents: Any) -> list[NodePath]:
    if not isinstance(parents, Mapping) or any(
        isinstance(parent, dict | list) for parent in parents.values()
    ):
        raise TaxonomyError(f"`parents` maps each child to its parent, got {parents!r}")
    inner = {parent for parent in parents.values() if parent is not None}
    for parent in inner - set(parents):
        raise TaxonomyError(
            f"{parent!r} is a parent but has no line of its own; add `{parent}: null`"
        )
    paths = {}
    for node in parents:
        path = [_name(node)]
        above = parents[node]
        while above is not None:
            if above in path:
                raise TaxonomyError(f"cycle: {' -> '.join([*path, str(above)])}")
            path.append(_name(above))
            above = parents[above]
        paths[node] = "/".join(reversed(path))
    return [path for node, path in paths.items() if node not in inner]


def _name(value: Any) -> str:
    name = str(value)
    if "/" in name:
        raise TaxonomyError(f"class name {name!r} holds a '/', which separates levels; rename it")
    return name
