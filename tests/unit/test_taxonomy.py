"""Levels, parents and index arrays, on small trees by hand and on random ones."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from atlas.errors import TaxonomyError
from atlas.taxonomy import Taxonomy, ancestors, from_paths, truncate
from atlas.types import LABEL

RAGGED = Taxonomy(
    ("kingdom", "order", "species"),
    ("animal/pet/cat", "animal/pet/dog", "animal/fly", "rock"),
    {"colour": ("light", "dark")},
)


@st.composite
def forests(draw: st.DrawFn) -> Taxonomy:
    """A random forest of depth at most 3 in which every inner node has 2 or 3 children."""

    def grow(prefix: str, room: int) -> list[str]:
        paths = []
        for number in range(draw(st.integers(2, 3))):
            path = f"{prefix}{'abc'[number]}"
            inner = room > 1 and draw(st.booleans())
            paths += grow(f"{path}/", room - 1) if inner else [path]
        return paths

    leaves = grow("", 3)
    depth = max(leaf.count("/") + 1 for leaf in leaves)
    return Taxonomy(tuple(f"level_{i}" for i in range(depth)), tuple(leaves), {})


def test_ancestors_and_truncate() -> None:
    assert ancestors("a/b/c") == ["a", "a/b", "a/b/c"]
    assert [truncate("a/b/c", depth) for depth in (1, 2, 3, 9)] == ["a", "a/b", "a/b/c", "a/b/c"]


def test_a_shallow_leaf_stands_for_itself_at_deeper_levels() -> None:
    assert RAGGED.classes == {
        "kingdom": ("animal", "rock"),
        "order": ("animal/pet", "animal/fly", "rock"),
        "species": ("animal/pet/cat", "animal/pet/dog", "animal/fly", "rock"),
    }


def test_index_arrays_by_hand() -> None:
    index = RAGGED.leaf_to_class
    assert index["kingdom"].tolist() == [0, 0, 0, 1]
    assert index["order"].tolist() == [0, 0, 1, 2]
    assert index["species"].tolist() == [0, 1, 2, 3]
    assert RAGGED.under["animal"].tolist() == [True, True, True, False]
    assert RAGGED.under["animal/pet/dog"].tolist() == [False, True, False, False]


def test_nodes_have_parents_before_children() -> None:
    assert RAGGED.nodes == (
        "animal",
        "animal/pet",
        "animal/pet/cat",
        "animal/pet/dog",
        "animal/fly",
        "rock",
    )


@pytest.mark.parametrize(
    ("path", "level", "wanted"),
    [
        ("animal/pet/cat", "kingdom", "animal"),
        ("animal/pet/cat", "order", "animal/pet"),
        ("animal/pet", "order", "animal/pet"),
        ("animal/pet", "species", None),  # the label stopped above
        ("animal", "order", None),
        ("rock", "species", "rock"),  # a leaf says all there is to say
        ("animal/fly", "species", "animal/fly"),
    ],
)
def test_at_level(path: str, level: str, wanted: str | None) -> None:
    assert RAGGED.at_level(path, level) == wanted


def test_a_name_may_stand_under_two_parents() -> None:
    tree = from_paths(["sink/hot", "sink/cold", "bath/hot", "bath/cold"])
    assert tree.levels == ("level_1", "level_2")
    assert tree.leaves == ("bath/cold", "bath/hot", "sink/cold", "sink/hot")
    assert tree.leaf_to_class["level_1"].tolist() == [0, 0, 1, 1]


def test_a_prefix_of_a_name_is_no_parent() -> None:
    tree = Taxonomy(("a", "b"), ("cat/x", "cat/y", "cats"), {})
    assert tree.under["cat"].tolist() == [True, True, False]


@given(forests())
def test_every_class_has_leaves_and_every_leaf_a_class(tree: Taxonomy) -> None:
    for level in tree.levels:
        index = tree.leaf_to_class[level]
        assert set(index.tolist()) == set(range(len(tree.classes[level])))
        for leaf, number in zip(tree.leaves, index, strict=True):
            found = tree.classes[level][number]
            assert found == leaf or leaf.startswith(f"{found}/")
            assert tree.at_level(leaf, level) == found


@given(forests())
def test_levels_nest(tree: Taxonomy) -> None:
    for coarse, fine in zip(tree.levels, tree.levels[1:], strict=False):
        for members in np.eye(len(tree.classes[fine]), dtype=bool):
            leaves = members[tree.leaf_to_class[fine]]
            assert len(set(tree.leaf_to_class[coarse][leaves].tolist())) == 1


@given(forests())
def test_children_partition_the_leaves_of_their_parent(tree: Taxonomy) -> None:
    for node in tree.nodes:
        children = [n for n in tree.nodes if n.rpartition("/")[0] == node]
        if children:
            assert (sum(tree.under[child].astype(int) for child in children) == 1)[
                tree.under[node]
            ].all()
            assert not tree.under[children[0]][~tree.under[node]].any()
        else:
            assert tree.under[node].sum() == 1


@pytest.mark.parametrize(
    ("levels", "leaves", "attributes", "said"),
    [
        (("a",), (), {}, r"0 class\(es\)"),
        (("a",), ("x",), {}, "at least 2"),
        (("a",), ("x", "y", "x"), {}, "duplicate path 'x'"),
        (("a",), ("x", ""), {}, "empty or padded"),
        (("a", "b"), ("x/", "y"), {}, "empty or padded"),
        (("a",), ("x ", "y"), {}, "empty or padded"),
        (("a", "b"), ("x/1", "y"), {}, "'x' has the single child 'x/1'"),
        (("a", "b"), ("x/1", "x/2"), {}, "'the top' has the single child 'x'"),
        (("a", "b"), ("x/1", "x/2", "x", "y"), {}, "'x' holds images or is a leaf"),
        (("a",), ("x/1", "x/2", "y"), {}, r"1 level names \(a\) for a tree that is 2 deep"),
        (("a", "b"), ("x", "y"), {}, "2 level names"),
        (("a", "a"), ("x/1", "x/2", "y"), {}, "'a' is used twice"),
        (("label",), ("x", "y"), {}, "'label' is used twice"),
        (("a",), ("x", "y"), {"a": ("1", "2")}, "'a' is used twice"),
        (("a b",), ("x", "y"), {}, "letters, digits and _ only"),
        (("a" * 65,), ("x", "y"), {}, "has 65 characters; shorten it to 64"),
        (("a",), ("x", "y"), {"c": ("1",)}, "2 or more different classes"),
        (("a",), ("x", "y"), {"c": ("1", "1")}, "2 or more different classes"),
    ],
)
def test_what_cannot_be_a_taxonomy(
    levels: tuple[str, ...],
    leaves: tuple[str, ...],
    attributes: dict[str, tuple[str, ...]],
    said: str,
) -> None:
    with pytest.raises(TaxonomyError, match=said):
        Taxonomy(levels, leaves, attributes)


def test_no_folder_is_no_taxonomy() -> None:
    with pytest.raises(TaxonomyError, match="no class found"):
        from_paths([])


def test_check_takes_any_node_and_attribute() -> None:
    RAGGED.check({LABEL: "animal/pet", "colour": "dark"})
    RAGGED.check({})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({LABEL: "cat"}, "label 'cat' is not in the taxonomy; known: animal, animal/pet"),
        ({"colour": "red"}, "colour 'red' is not in the taxonomy; known: light, dark"),
        ({"size": "big"}, "no task 'size'; known: label, colour"),
    ],
)
def test_check_says_what_is_known(values: dict[str, str], said: str) -> None:
    with pytest.raises(TaxonomyError, match=said):
        RAGGED.check(values)
