"""Reliable levels and back-off along the taxonomy, worked by hand."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from atlas.accuracy import wilson
from atlas.showing import Shown, climb, shown_levels, threshold_for
from atlas.taxonomy import Taxonomy

LEVELS = ("category", "fixture", "valve")
# "toilet" ends at the fixture level; the tap has a hot and a cold end.
HOME = Taxonomy(LEVELS, ("toilet", "tap/sink/hot", "tap/sink/cold", "tap/bath"), {})
Probs = Mapping[str, NDArray[np.float64]]


def at_levels(leaves: list[list[float]]) -> Probs:
    """(N, 4) probabilities of toilet, hot, cold, bath, summed up the tree."""
    toilet, hot, cold, bath = np.array(leaves, dtype=float).reshape(-1, 4).T
    return {
        "category": np.stack([toilet, hot + cold + bath], axis=1),
        "fixture": np.stack([toilet, hot + cold, bath], axis=1),
        "valve": np.stack([toilet, hot, cold, bath], axis=1),
    }


def test_levels_appear_from_coarse_to_fine() -> None:
    """Wilson's lower bounds: 19 of 20 76.4%, 16 of 20 58.4%, 20 of 20 83.9%, 3 of 3 43.8%."""
    sure, unsure, perfect = (wilson(n, 20, min_labels=10) for n in (19, 16, 20))
    assert sure.low == pytest.approx(0.764, abs=5e-4)
    assert unsure.low == pytest.approx(0.584, abs=5e-4)
    found = {"category": perfect, "fixture": sure, "valve": unsure}
    assert shown_levels(found, LEVELS, 0.6) == ("category", "fixture")
    assert shown_levels(found, LEVELS, 0.5) == LEVELS
    assert shown_levels(found, LEVELS, 0.8) == ("category",)
    assert shown_levels(found, LEVELS, 0.9) == ()


def test_a_fine_level_waits_for_the_coarser_ones() -> None:
    found = {"category": wilson(10, 20, min_labels=10), "fixture": wilson(20, 20, min_labels=10)}
    assert shown_levels(found, LEVELS, 0.6) == ()


def test_too_few_labels_or_none_are_not_reliable() -> None:
    assert shown_levels({"category": wilson(9, 9, min_labels=10)}, LEVELS, 0.6) == ()
    assert shown_levels({"category": wilson(0, 0, min_labels=1)}, LEVELS, 0.0) == ()
    assert shown_levels({}, LEVELS, 0.6) == ()


def test_an_uncertain_valve_is_shown_as_its_fixture() -> None:
    """Hot .5, cold .4: the sink has .9. Hot .3, bath .25, cold .25: only "tap", .8."""
    probs = at_levels([[0.05, 0.5, 0.4, 0.05], [0.2, 0.3, 0.25, 0.25], [0.4, 0.25, 0.2, 0.15]])
    sink, tap, nothing = climb(probs, HOME, LEVELS, 0.7)
    assert (sink.node, sink.level) == ("tap/sink", "fixture")
    assert sink.probability == pytest.approx(0.9)
    assert (tap.node, tap.level) == ("tap", "category")
    assert tap.probability == pytest.approx(0.8)
    assert nothing == Shown("", "", 1.0)  # the best leaf is the toilet with .4, nothing is above it
    assert climb(probs, HOME, LEVELS, 0.5)[0] == Shown("tap/sink/hot", "valve", 0.5)


def test_a_shallow_leaf_answers_the_finest_level() -> None:
    probs = at_levels([[0.9, 0.05, 0.03, 0.02]])
    assert climb(probs, HOME, LEVELS, 0.8) == [Shown("toilet", "valve", 0.9)]


def test_the_climb_begins_at_the_finest_shown_level() -> None:
    """At the fixture level the sink has .5 although bath, .35, is the best leaf."""
    probs = at_levels([[0.15, 0.26, 0.24, 0.35]])
    assert climb(probs, HOME, LEVELS, 0.5)[0].node == "tap"
    assert climb(probs, HOME, LEVELS[:2], 0.5)[0] == Shown("tap/sink", "fixture", 0.5)


def test_nothing_is_said_without_levels_or_a_threshold() -> None:
    probs = at_levels([[0.9, 0.05, 0.03, 0.02]] * 2)
    assert climb(probs, HOME, (), 0.5) == [Shown("", "", 1.0)] * 2
    assert climb(probs, HOME, LEVELS, None) == [Shown("", "", 1.0)] * 2
    assert climb(at_levels([]), HOME, LEVELS, 0.5) == []


def test_the_threshold_by_hand() -> None:
    """The largest probability of a wrong node on each way up, labels "tap/sink/hot" throughout.

    Row 1 is right at once: 0. Row 2 says cold, .6, and the sink above is right: .6. Row 3 says
    bath, .7, tap above is right: .7. Row 4 says toilet, .9, and nothing above: .9.
    With 4 labels: target .2 → ⌈5 · .2⌉ = 1st smallest, 0, but never under a half; .4 → 2nd, .6;
    .6 → 3rd, .7; .8 → 4th, .9; .81 → 5th of 4, nothing can be promised.
    """
    probs = at_levels(
        [[0.1, 0.8, 0.1, 0.0], [0.1, 0.3, 0.6, 0.0], [0.1, 0.1, 0.1, 0.7], [0.9, 0.1, 0.0, 0.0]]
    )
    labels = ["tap/sink/hot"] * 4

    def found(target: float) -> float | None:
        return threshold_for(probs, labels, HOME, LEVELS, target=target)

    assert found(0.2) == 0.5
    assert found(0.4) == pytest.approx(0.6)
    assert found(0.6) == pytest.approx(0.7)
    assert found(0.8) == pytest.approx(0.9)
    assert found(0.81) is None
    # just above, so that the row it comes from is no longer shown wrongly
    assert [one.node for one in climb(probs, HOME, LEVELS, found(0.6))] == [
        "tap/sink/hot",
        "tap/sink",
        "tap",
        "toilet",
    ]


def test_below_a_label_that_stops_half_way_is_wrong() -> None:
    probs = at_levels([[0.1, 0.8, 0.1, 0.0]])
    args = (HOME, LEVELS)
    assert threshold_for(probs, ["tap/sink"], *args, target=0.5) == pytest.approx(0.8)
    assert threshold_for(probs, ["tap"], *args, target=0.5) == pytest.approx(0.9)


def test_a_sure_mistake_leaves_nothing_to_promise() -> None:
    probs = at_levels([[1.0, 0.0, 0.0, 0.0]])
    assert threshold_for(probs, ["tap/bath"], HOME, LEVELS, target=0.5) is None


def test_a_name_that_begins_like_another_is_another() -> None:
    tree = Taxonomy(("kind", "one"), ("tap/a", "tap/b", "tap 2"), {})
    probs = {"kind": np.array([[0.9, 0.1]]), "one": np.array([[0.8, 0.1, 0.1]])}
    assert threshold_for(probs, ["tap 2"], tree, tree.levels, target=0.5) == pytest.approx(0.9)


rows = st.integers(1, 12)
weights = st.floats(0.01, 1)


@settings(max_examples=60)
@given(st.lists(st.tuples(weights, weights, weights, weights), min_size=1, max_size=12), st.data())
def test_what_is_shown_is_the_likeliest_class_of_its_level(
    leaves: list[tuple[float, ...]], data: st.DataObject
) -> None:
    """And a higher threshold never shows a finer node: it moves up the same way."""
    probs = at_levels([[one / sum(row) for one in row] for row in leaves])
    low, high = sorted(data.draw(st.tuples(st.floats(0.51, 1), st.floats(0.51, 1))))
    finer, coarser = (climb(probs, HOME, LEVELS, one) for one in (low, high))
    for row, (one, other) in enumerate(zip(finer, coarser, strict=True)):
        assert f"{one.node}/".startswith(f"{other.node}/" if other.node else "")
        if one.node:
            best = int(probs[one.level][row].argmax())
            assert HOME.classes[one.level][best] == one.node


def test_the_promise_is_kept_on_new_images() -> None:
    """1,000 times 19 labels and one new image from a model that is right as often as it says.

    The new image is right, or nothing is said of it, in 90% or more: 0.9 minus 4 deviations
    (0.0095 each) is 0.862. The uncorrected quantile would keep about 0.86 of it (17.1 of 20).
    """
    rng = np.random.default_rng(0)
    right = []
    for _ in range(1000):
        leaves = rng.dirichlet([0.5] * 4, size=20)
        truth = [HOME.leaves[rng.choice(4, p=row)] for row in leaves]
        probs = at_levels(leaves[:19].tolist())
        threshold = threshold_for(probs, truth[:19], HOME, LEVELS, target=0.9)
        (shown,) = climb(at_levels(leaves[19:].tolist()), HOME, LEVELS, threshold)
        right.append(f"{truth[19]}/".startswith(f"{shown.node}/" if shown.node else ""))
    assert np.mean(right) >= 0.862
