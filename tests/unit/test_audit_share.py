"""As many audit images as the interval needs, worked out by hand."""

from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st
import pytest

from atlas.accuracy import wilson
from atlas.audit_share import half_width, labels_for, reaching, share_of
from atlas.settings import AuditSettings
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

TREE = Taxonomy(("family", "species"), ("bird/eagle", "bird/wren", "fish/cod", "fish/eel"), {})


def test_half_width_is_half_of_wilsons_interval() -> None:
    for correct, n in ((0, 1), (3, 4), (90, 120), (200, 200)):
        found = wilson(correct, n, min_labels=1)
        assert found.low is not None
        assert found.high is not None
        assert half_width(correct / n, n) == pytest.approx((found.high - found.low) / 2, abs=1e-9)


def test_labels_by_hand() -> None:
    """z² = 3.8415. At p = ½ the half-width is z/2 ÷ √(n + z²): n = z²/(4·0.05²) − z² = 380.3.

    At p = 1 it is z²/2 ÷ (n + z²): n = z²/(2·0.05) − z² = 34.6.
    """
    assert labels_for(0.5, 0.05) == 381
    assert labels_for(1.0, 0.05) == labels_for(0.0, 0.05) == 35
    assert labels_for(0.5, 0.4999) == 1


@given(st.floats(0, 1), st.floats(0.01, 0.4))
def test_it_is_the_least_number(accuracy: float, wanted: float) -> None:
    n = labels_for(accuracy, wanted)
    assert half_width(accuracy, n) <= wanted + 1e-9
    if n > 1:
        assert half_width(accuracy, n - 1) > wanted - 1e-9


def test_the_worst_level_decides() -> None:
    """120 labels, all of them of a family, 100 of a species.

    family, p = 0.9: half-width 1.96/123.84·√(10.8 + 0.96) = 0.0543; species, p = 0.75:
    1.96/103.84·√(18.75 + 0.96) = 0.0838. For ±5 points: 141 labels and 286, so 186 more.
    """
    share = share_of(
        {"family": 120, "species": 100},
        {"family": 0.9, "species": 0.75},
        AuditSettings(half_width=0.05),
        labelled=120,
        left=400,
    )
    assert half_width(0.9, 120) == pytest.approx(0.0543, abs=1e-4)
    assert share.half_width == pytest.approx(0.0838, abs=1e-4)
    assert (labels_for(0.9, 0.05), labels_for(0.75, 0.05)) == (141, 286)
    assert (share.task, share.needed) == ("species", 186)
    assert share.of_round(40) == 40
    assert share.in_words() == "audit: 120 labelled, ±8.4 points at species; 186 more for ±5"


def test_no_more_than_are_needed() -> None:
    """At p = 0.9 and ±5 points 141 labels are enough: 6 are missing, then none."""
    settings = AuditSettings(half_width=0.05)
    near = share_of({"species": 135}, {"species": 0.9}, settings, labelled=135, left=65)
    assert (near.needed, near.of_round(40)) == (6, 6)
    there = share_of({"species": 141}, {"species": 0.9}, settings, labelled=141, left=59)
    assert (there.needed, there.of_round(40)) == (0, 0)
    assert there.in_words() == "audit: 141 labelled, ±5 points at species; enough for ±5"


def test_no_more_than_there_are() -> None:
    settings = AuditSettings(half_width=0.02)
    share = share_of({"species": 190}, {"species": 0.9}, settings, labelled=190, left=10)
    assert share.of_round(40) == 10
    said = "678 more for ±2, but only 10 are left: the audit set needs 668 more images"
    assert share.in_words().endswith(said)
    none = replace(share, needed=1, left=0)
    assert none.in_words().endswith("but none is left: the audit set needs 1 more image")


def test_before_anything_is_measured_the_interval_is_taken_for_the_widest() -> None:
    share = share_of({"species": 0}, {"species": None}, AuditSettings(), labelled=0, left=200)
    assert (share.half_width, share.needed, share.of_round(40)) == (inf, 381, 40)
    assert share.in_words() == "audit: 0 labelled, 200 left; species is not measured yet"


def test_a_sure_model_is_still_measured_on_the_least_number() -> None:
    """At p = 1 two labels would do for ±33 points, but a number may be quoted from 30 on."""
    settings = AuditSettings(half_width=0.33, min_labels=30)
    share = share_of({"species": 12}, {"species": 1.0}, settings, labelled=12, left=90)
    assert share.needed == 18


def test_without_a_wanted_width_every_round_carries_the_same() -> None:
    settings = AuditSettings(half_width=0)
    share = share_of({"species": 5000}, {"species": 0.9}, settings, labelled=5000, left=90)
    assert share.of_round(40) == 40
    assert share.in_words() == "audit: 5000 labelled, ±0.8 points at species"


def test_without_audit_images() -> None:
    share = share_of({"species": 0}, {"species": None}, AuditSettings(), labelled=0, left=0)
    assert share.of_round(40) == 0
    assert share.in_words() == "audit: no image is set apart, nothing is measured"


def test_a_label_of_an_inner_node_does_not_reach_the_leaves() -> None:
    labels = [{LABEL: "bird"}, {LABEL: "bird/wren"}, {LABEL: "fish/cod"}]
    assert reaching(labels, TREE) == {"family": 3, "species": 2}


def test_a_leaf_that_ends_early_stands_for_itself_below() -> None:
    tree = Taxonomy(("family", "species"), ("bird/eagle", "bird/wren", "rock"), {})
    assert reaching([{LABEL: "rock"}, {LABEL: "bird"}], tree) == {"family": 2, "species": 1}


def test_an_attribute_counts_like_a_level() -> None:
    """Two of three say the colour; nobody says the age, and more images would not tell it."""
    tree = Taxonomy(
        TREE.levels, TREE.leaves, {"colour": ("red", "blue"), "age": ("young", "old")}, ("length",)
    )
    labels = [
        {LABEL: "bird/wren", "colour": "red", "length": "9"},
        {LABEL: "fish/cod", "colour": "blue"},
        {LABEL: "fish"},
    ]
    assert reaching(labels, tree) == {"family": 3, "species": 2, "colour": 2}
    assert reaching([], tree) == {"family": 0, "species": 0}


def test_the_worst_task_may_be_an_attribute() -> None:
    """At p = 0.6 and n = 120 the half-width is 1.96/123.84·√(28.8 + 0.96) = 0.0863."""
    share = share_of(
        {"species": 120, "colour": 120},
        {"species": 0.9, "colour": 0.6},
        AuditSettings(half_width=0.05),
        labelled=120,
        left=400,
    )
    assert share.half_width == pytest.approx(0.0863, abs=1e-4)
    assert share.in_words() == "audit: 120 labelled, ±8.6 points at colour; 246 more for ±5"


def test_a_task_that_is_not_measured_yet_is_named() -> None:
    """Such as an attribute that came after the model was trained."""
    share = share_of(
        {"species": 120, "colour": 9},
        {"species": 0.9, "colour": None},
        AuditSettings(half_width=0.05),
        labelled=120,
        left=80,
    )
    assert share.in_words() == "audit: 120 labelled, 80 left; colour is not measured yet"
