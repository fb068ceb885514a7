"""The labelling page made from a taxonomy."""

from collections import Counter
from xml.etree import ElementTree

import pytest

from atlas.oracle._hotkeys import Hotkeys
from atlas.oracle._label_config import render
from atlas.taxonomy import Taxonomy, from_paths

GARMENTS = Taxonomy(
    levels=("kind", "garment"),
    leaves=("top/t_shirt", "top/coat", "bottom/skirt", "bottom/shorts"),
    attributes={"colour": ("red", "blue", "black")},
)
# 3 × 4 × 6 = 72 leaves and 3 + 12 = 15 inner nodes: more than there are keys.
ANIMALS = from_paths(f"k{i}/f{j}/a{i}{j}{k}" for i in range(3) for j in range(4) for k in range(6))

KEYS = "Enter or Ctrl+Enter submits, Ctrl+Space skips"


def choices(taxonomy: Taxonomy, control: str) -> list[dict[str, str]]:
    page = ElementTree.fromstring(render(taxonomy))
    found = page.find(f".//Choices[@name='{control}']")
    assert found is not None
    return [choice.attrib for choice in found.iter("Choice")]


def test_every_node_is_a_choice_and_its_path_is_the_result() -> None:
    shown = {choice["value"]: choice["alias"] for choice in choices(GARMENTS, "label")}
    assert shown == {
        "t shirt": "top/t_shirt",
        "coat": "top/coat",
        "top, can't tell further": "top",
        "skirt": "bottom/skirt",
        "shorts": "bottom/shorts",
        "bottom, can't tell further": "bottom",
    }
    assert [choice["alias"] for choice in choices(GARMENTS, "colour")] == ["red", "blue", "black"]


def test_a_quantity_is_a_box_for_a_number() -> None:
    taxonomy = Taxonomy(("kind",), ("a", "b"), {"colour": ("red", "blue")}, ("length_cm", "age"))
    page = ElementTree.fromstring(render(taxonomy))
    boxes = [box.attrib for box in page.iter("Number")]
    assert boxes == [
        {"name": "length_cm", "toName": "image", "step": "any"},  # may stay empty
        {"name": "age", "toName": "image", "step": "any"},
    ]
    headers = [header.attrib["value"] for header in page.iter("Header")]
    assert headers == ["$reason", KEYS, "colour", "length cm", "age"]
    assert "<Number" not in render(GARMENTS)


def test_keys_are_easy_to_remember() -> None:
    keys = {
        choice["alias"]: choice["hotkey"]
        for control in ("label", "colour")
        for choice in choices(GARMENTS, control)
    }
    assert keys == {
        "top/t_shirt": "1",
        "top/coat": "2",
        "bottom/skirt": "3",
        "bottom/shorts": "4",
        "red": "r",
        "blue": "b",
        "black": "l",  # b is taken
        "top": "shift+t",
        "bottom": "shift+b",
    }


@pytest.mark.parametrize("taxonomy", [GARMENTS, ANIMALS], ids=["garments", "animals"])
def test_no_key_and_no_text_is_used_twice(taxonomy: Taxonomy) -> None:
    controls = ("label", *taxonomy.attributes)
    every = [choice for control in controls for choice in choices(taxonomy, control)]
    keys = Counter(choice["hotkey"] for choice in every if "hotkey" in choice)
    assert max(keys.values()) == 1
    assert not set(keys) & {"u", "h", "v", "shift+f", "shift+h"}  # Label Studio's own, the search
    texts = [choice["value"] for choice in choices(taxonomy, "label")]
    assert len(set(texts)) == len(texts) == len(taxonomy.nodes)


def test_a_search_box_appears_when_the_keys_run_out() -> None:
    assert "<Filter" not in render(GARMENTS)
    page = ElementTree.fromstring(render(ANIMALS))
    box = page.find(".//Filter")
    assert box is not None
    assert box.attrib["hotkey"] == "shift+f"


def test_a_name_under_two_parents_is_shown_with_its_path() -> None:
    taxonomy = from_paths(["kitchen/hot", "kitchen/cold", "bath/hot", "bath/mixed"])
    texts = {choice["alias"]: choice["value"] for choice in choices(taxonomy, "label")}
    assert texts["kitchen/hot"] == "kitchen / hot"
    assert texts["bath/hot"] == "bath / hot"
    assert texts["bath/mixed"] == "mixed"


def test_a_flat_taxonomy_has_no_headers_over_its_leaves() -> None:
    taxonomy = from_paths(["cat", "dog"])
    page = ElementTree.fromstring(render(taxonomy))
    assert [header.attrib["value"] for header in page.iter("Header")] == ["$reason", KEYS]
    assert [choice["alias"] for choice in choices(taxonomy, "label")] == ["cat", "dog"]


def test_names_are_escaped() -> None:
    taxonomy = from_paths(['R&B "live"', "<rock>"])
    assert [choice["alias"] for choice in choices(taxonomy, "label")] == ["<rock>", 'R&B "live"']


def test_keys_run_out_at_the_end_alone() -> None:
    # 10 digits + 23 letters + 23 with shift, less shift+f: 55 keys.
    hotkeys = Hotkeys()
    keys = hotkeys.in_order(55)
    assert "" not in keys
    assert not hotkeys.ran_out
    assert hotkeys.in_order(1) == [""]
    assert hotkeys.ran_out
