"""Taxonomy files: both shapes, every mistake, and back again."""

from pathlib import Path

import pytest

from atlas.errors import TaxonomyError
from atlas.taxonomy import Taxonomy
from atlas.taxonomy_file import load_taxonomy, save_taxonomy


def load(tmp_path: Path, text: str) -> Taxonomy:
    path = tmp_path / "taxonomy.yaml"
    path.write_text(text, encoding="utf-8")
    return load_taxonomy(path)


def test_tree_of_mappings_and_lists(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """
        levels: [kind, species]
        tree:
          bird: [eagle, owl]
          fish: {pike: , carp: null}
        attributes: {colour: [light, dark]}
        quantities: [length_cm, weight_g]
        """,
    )
    assert found.levels == ("kind", "species")
    assert found.leaves == ("bird/eagle", "bird/owl", "fish/pike", "fish/carp")
    assert found.attributes == {"colour": ("light", "dark")}
    assert found.quantities == ("length_cm", "weight_g")


@pytest.mark.parametrize("said", ["", "quantities:", "quantities: []"])
def test_without_quantities(tmp_path: Path, said: str) -> None:
    found = load(tmp_path, f"tree: [a, b]\n{said}")
    assert found.quantities == ()
    save_taxonomy(found, tmp_path / "t.yaml")
    assert "quantities" not in (tmp_path / "t.yaml").read_text()


def test_parents(tmp_path: Path) -> None:
    text = "parents: {bird: null, fish: null, eagle: bird, owl: bird, pike: fish, carp: fish}"
    found = load(tmp_path, text)
    assert found.leaves == ("bird/eagle", "bird/owl", "fish/pike", "fish/carp")
    assert found.levels == ("level_1", "level_2")


def test_json_is_read_too(tmp_path: Path) -> None:
    assert load(tmp_path, '{"tree": ["a", "b"]}').leaves == ("a", "b")


def test_words_that_yaml_would_turn_into_something_else(tmp_path: Path) -> None:
    """A valve is on or off, a class may be called 1.0: none of them is a bool or a float."""
    found = load(tmp_path, "tree: {valve: [on, off], size: [1, 1.0, 2024-01-01]}")
    assert found.leaves == ("valve/on", "valve/off", "size/1", "size/1.0", "size/2024-01-01")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parents: {a: b, b: c, c: a}", "cycle: a -> b -> c -> a"),
        ("parents: {a: a}", "cycle: a -> a"),
        ("tree: &top {a: *top, b: }", "cycle: 'a' contains itself"),
        ("tree: {x: &x {y: *x, z: }, b: }", "cycle: 'x/y' contains itself"),
        ("tree: {a: , b: , a: }", "duplicate path: 'a' stands twice"),
        ("tree: {x: {a: , a: }, y: }", "duplicate path: 'a' stands twice"),
        ("tree: {x: [a, a], y: }", "duplicate path 'x/a'"),
        ("tree: {x: [a], y: }", "'x' has the single child"),
        ("tree: {x: {y: {a: , b: }}, z: }", "'x' has the single child"),
        ("tree: {a/b: , c: }", "'a/b' holds a '/'"),
        ("tree: [a/b, c]", "'a/b' holds a '/'"),
        ("parents: {a/b: null, c: null}", "'a/b' holds a '/'"),
        ("parents: {a: null, b: nobody}", "'nobody' is a parent but has no line of its own"),
        ("parents: {a: [x], b: null}", "maps each child to its parent"),
        ("parents: [a, b]", "maps each child to its parent"),
        ("levels: [one, two]\ntree: [a, b]", "2 level names"),
        ("levels: one\ntree: [a, b]", "`levels` is a list of names"),
        ("tree: [a, [b, c]]", "expected a mapping or list of names"),
        ("tree: {x: {}, y: }", "'x' is empty"),
        ("tree: {x: [], y: }", "'x' is empty"),
        ("tree: 5", "expected a mapping or list of names"),
        ("tree:", "expected a mapping or list of names"),
        ("tree: [a, b]\nattributes: [red, green]", "`attributes` maps each name to a list"),
        ("tree: [a, b]\nattributes: {colour: red}", "`attributes` maps each name to a list"),
        ("tree: [a, b]\nquantities: size", "`quantities` is a list of names"),
        ("tree: [a, b]\nquantities: {size: cm}", "`quantities` is a list of names"),
        ("tree: [a, b]\nquantities: [size: cm]", "`quantities` is a list of names"),
        ("tree: [a, b]\nquantities: [size, size]", "task name 'size' is used twice"),
        ("tree: [a, b]\nquantities: [label]", "task name 'label' is used twice"),
        ("tree: [a, b]\nquantities: [size in cm]", "use letters, digits and _ only"),
        ("tree: [a, b]\nattributes: {s: [x, y]}\nquantities: [s]", "task name 's' is used twice"),
        ("tree: [a, b]\nparents: {a: null}", "either `tree` or `parents`"),
        ("levels: [a]", "either `tree` or `parents`"),
        ("[a, b]", "either `tree` or `parents`"),
        ("", "either `tree` or `parents`"),
        ("tree: [a, b]\ncolours: [red]", "unknown key colours"),
        ("tree: [a, b", "neither YAML nor JSON"),
    ],
)
def test_what_cannot_be_a_taxonomy_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TaxonomyError, match=said):
        load(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match="cannot read the taxonomy"):
        load_taxonomy(tmp_path / "none.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TaxonomyError, match="neither YAML nor JSON"):
        load_taxonomy(tmp_path / "t.yaml")


@pytest.mark.parametrize(
    "taxonomy",
    [
        Taxonomy(("a",), ("x", "y"), {}),
        Taxonomy(("a", "b"), ("x/no", "x/yes", "1.0"), {"off": ("null", "true", "~")}),
        Taxonomy(("a", "b"), ("été/œuf", "été/ail", "fin: [1]"), {"c": ("é", "{}")}),
        Taxonomy(("a", "b", "c"), ("z/2/x", "z/2/y", "z/1", "a"), {}),
        Taxonomy(("a",), ("x", "y"), {"c": ("r", "b")}, ("on", "length_cm")),
    ],
)
def test_save_and_load_give_it_back(tmp_path: Path, taxonomy: Taxonomy) -> None:
    save_taxonomy(taxonomy, tmp_path / "t.yaml")
    assert load_taxonomy(tmp_path / "t.yaml") == taxonomy
