"""Levels, paths and parents, and the index arrays that carry probabilities up the tree.

A class is named by its path ("animal/pet/cat"), so the same name under two parents is two classes.
A leaf may be shallower than the deepest level; at deeper levels it stands for itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from atlas.errors import TaxonomyError
from atlas.types import LABEL, NodePath

MAX_NAME = 64  # characters of a task's name, as its columns in the database hold


@dataclass(frozen=True)
class Taxonomy:
    """A forest of classes with named levels, and extra attributes beside it.

    Attributes:
        levels: names, coarse to fine; as many as the deepest leaf has parts.
        leaves: leaf paths, sorted as given.
        attributes: name → class names, for tasks that are no part of the tree.
        quantities: names of tasks that are numbers, such as a length in centimetres.

    Raises:
        TaxonomyError: duplicate path, a node with a single child, a leaf above another leaf,
            a number of level names that is not the depth, or a name with "/" or no text.
    """

    levels: tuple[str, ...]
    leaves: tuple[NodePath, ...]
    attributes: Mapping[str, tuple[str, ...]]
    quantities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_leaves(self.leaves)
        depth = max(leaf.count("/") + 1 for leaf in self.leaves)
        if len(self.levels) != depth:
            raise TaxonomyError(
                f"{len(self.levels)} level names ({', '.join(self.levels)}) for a tree "
                f"that is {depth} deep; name each level once, coarse to fine"
            )
        _check_attributes(self.levels, self.attributes, self.quantities)

    @cached_property
    def nodes(self) -> tuple[NodePath, ...]:
        """Every path, parents before children, in the order of the leaves."""
        found: dict[NodePath, None] = {}
        for leaf in self.leaves:
            for path in ancestors(leaf):
                found.setdefault(path)
        return tuple(found)

    @cached_property
    def classes(self) -> dict[str, tuple[NodePath, ...]]:
        """Level → its classes: nodes at that depth and the leaves that end above it."""
        return {
            level: tuple(dict.fromkeys(truncate(leaf, depth + 1) for leaf in self.leaves))
            for depth, level in enumerate(self.levels)
        }

    @cached_property
    def tasks(self) -> dict[str, tuple[str, ...]]:
        """Every classification: level → classes, then attribute → classes."""
        return {**self.classes, **self.attributes}

    @cached_property
    def outputs(self) -> dict[str, int]:
        """Everything that is predicted → how many scores it takes: its classes, or one number."""
        classes = {task: len(known) for task, known in self.tasks.items()}
        return classes | dict.fromkeys(self.quantities, 1)

    @cached_property
    def leaf_to_class(self) -> dict[str, NDArray[np.intp]]:
        """Level → (n_leaves,) index of the class each leaf belongs to at that level."""
        result = {}
        for depth, level in enumerate(self.levels):
            index = {path: i for i, path in enumerate(self.classes[level])}
            result[level] = np.array(
                [index[truncate(leaf, depth + 1)] for leaf in self.leaves], dtype=np.intp
            )
        return result

    @cached_property
    def under(self) -> dict[NodePath, NDArray[np.bool_]]:
        """Node → (n_leaves,) mask of the leaves at or under it."""
        return {
            node: np.array([leaf == node or leaf.startswith(f"{node}/") for leaf in self.leaves])
            for node in self.nodes
        }

    def at_level(self, path: NodePath, level: str) -> NodePath | None:
        """The class of `path` at `level`, or None where the label stopped above that level."""
        depth = self.levels.index(level) + 1
        if path.count("/") + 1 >= depth or path in self.leaves:
            return truncate(path, depth)
        return None

    def check(self, values: Mapping[str, str]) -> None:
        """Raise `TaxonomyError` unless every value is a node, an attribute's class or a number."""
        for task, value in values.items():
            if task in self.quantities:
                _check_number(task, value)
                continue
            known = self.nodes if task == LABEL else self.attributes.get(task)
            if known is None:
                raise TaxonomyError(
                    f"no task {task!r}; known: "
                    f"{', '.join([LABEL, *self.attributes, *self.quantities])}"
                )
            if value not in known:
                raise TaxonomyError(
                    f"{task} {value!r} is not in the taxonomy; "
                    f"known: {', '.join(known[:12])}{' …' if len(known) > 12 else ''}"
                )


def ancestors(path: NodePath) -> list[NodePath]:
    """The path and every path above it, from the top: a/b → [a, a/b]."""
    parts = path.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def truncate(path: NodePath, depth: int) -> NodePath:
    """The first `depth` parts of a path, or all of it where it is shorter."""
    return "/".join(path.split("/")[:depth])


def from_paths(paths: Iterable[NodePath], levels: tuple[str, ...] = ()) -> Taxonomy:
    """The taxonomy whose leaves are `paths` (as found in nested folders); order is sorted."""
    leaves = tuple(sorted(set(paths)))
    if not leaves:
        raise TaxonomyError("no class found; nested folders must hold images, or give --taxonomy")
    depth = max(path.count("/") + 1 for path in leaves)
    return Taxonomy(levels or tuple(f"level_{i + 1}" for i in range(depth)), leaves, {})


def _check_leaves(leaves: tuple[NodePath, ...]) -> None:
    if len(leaves) < 2:
        raise TaxonomyError(f"{len(leaves)} class(es); a taxonomy needs at least 2 to choose from")
    seen: set[NodePath] = set()
    children: dict[NodePath, set[NodePath]] = {}
    for leaf in leaves:
        if leaf in seen:
            raise TaxonomyError(f"duplicate path {leaf!r}; each class is written once")
        seen.add(leaf)
        if not all(part.strip() == part and part for part in leaf.split("/")):
            raise TaxonomyError(f"{leaf!r} has an empty or padded part; write a/b/c")
        path = ancestors(leaf)
        for parent, child in zip(["", *path], path, strict=False):
            children.setdefault(parent, set()).add(child)
    for parent, found in children.items():
        if parent in seen:
            raise TaxonomyError(
                f"{parent!r} holds images or is a leaf, yet {min(found)!r} is under it; "
                "give it a leaf of its own (such as other)"
            )
        if len(found) == 1:
            raise TaxonomyError(
                f"{parent or 'the top'!r} has the single child {min(found)!r}: there is nothing "
                "to choose; leave one of the two out"
            )


def _check_number(task: str, value: str) -> None:
    try:
        finite = isfinite(float(value))
    except ValueError:
        finite = False
    if not finite:
        raise TaxonomyError(f"{task} {value!r} is not a number; write it like 12.5")


def _check_attributes(
    levels: tuple[str, ...],
    attributes: Mapping[str, tuple[str, ...]],
    quantities: tuple[str, ...],
) -> None:
    names = [*levels, *attributes, *quantities, LABEL]
    for name in names:
        if names.count(name) > 1:
            raise TaxonomyError(
                f"the task name {name!r} is used twice; rename a level or attribute"
            )
        if not name.isidentifier():
            raise TaxonomyError(f"task name {name!r}: use letters, digits and _ only")
        if len(name) > MAX_NAME:
            raise TaxonomyError(
                f"task name {name!r} has {len(name)} characters; shorten it to {MAX_NAME}"
            )
    for name, values in attributes.items():
        if len(set(values)) != len(values) or len(values) < 2:
            raise TaxonomyError(f"attribute {name!r} needs 2 or more different classes: {values}")
