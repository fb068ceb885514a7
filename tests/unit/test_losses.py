"""The masked losses against small sums by hand and slow loops."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from atlas.errors import TaxonomyError
from atlas.losses import (
    MISSING,
    Targets,
    encode,
    masked_cross_entropy,
    node_loss,
    sum_up_the_tree,
    tree_loss,
)
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

TREE = Taxonomy(("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")})


def under(*rows: str | None) -> torch.Tensor:
    masks = [np.zeros(3, bool) if node is None else TREE.under[node] for node in rows]
    return torch.from_numpy(np.stack(masks))


def test_encode_says_what_each_label_says_and_no_more() -> None:
    targets = encode(
        [{LABEL: "pet/dog", "colour": "blue"}, {LABEL: "pet"}, {LABEL: "rock"}, {"colour": "red"}],
        TREE,
    )
    assert targets.under.int().tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert targets.classes["kind"].tolist() == [0, 0, 1, MISSING]
    assert targets.classes["species"].tolist() == [1, MISSING, 2, MISSING]
    assert targets.classes["colour"].tolist() == [1, MISSING, MISSING, 0]
    some = targets[torch.tensor([False, True, False, True])]
    assert len(some) == 2
    assert some.classes["colour"].tolist() == [MISSING, 0]


def test_which_rows_speak_of_a_task() -> None:
    tree = Taxonomy(TREE.levels, TREE.leaves, {"colour": ("red", "blue")}, ("length",))
    labels = [{LABEL: "pet"}, {"length": "0"}, {LABEL: "rock", "colour": "red"}, {}]
    targets = encode(labels, tree)
    wanted = {LABEL: [0, 2], "kind": [0, 2], "species": [2], "colour": [2], "length": [1]}
    for task, rows in wanted.items():
        assert targets.labelled(task).nonzero()[:, 0].tolist() == rows, task


@pytest.mark.parametrize("label", [{LABEL: "pet/cow"}, {"colour": "green"}])
def test_a_label_outside_the_taxonomy_says_so(label: dict[str, str]) -> None:
    """The taxonomy file was edited after the label was given."""
    with pytest.raises(TaxonomyError, match="is not in the taxonomy"):
        encode([{LABEL: "rock"}, label], TREE)


def test_node_loss_by_hand() -> None:
    """Odds 1 : 2 : 1. The cat has P = 1/4, a pet P = 3/4: −log of both, halved."""
    scores = torch.tensor([[1.0, 2.0, 1.0]]).log().repeat(2, 1)
    wanted = (math.log(4) + math.log(4 / 3)) / 2
    assert float(node_loss(scores, under("pet/cat", "pet"))) == pytest.approx(wanted, rel=1e-6)


def test_node_loss_at_leaves_is_cross_entropy() -> None:
    scores = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    leaves = torch.tensor([0, 1, 2, 2, 1, 0, 1])
    mask = F.one_hot(leaves, 3).bool()
    torch.testing.assert_close(node_loss(scores, mask), F.cross_entropy(scores, leaves))


def test_a_label_at_the_very_top_teaches_nothing() -> None:
    scores = torch.randn(2, 3, requires_grad=True)
    loss = node_loss(scores, torch.ones(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert float(scores.grad.abs().max()) < 1e-6


def test_node_loss_gradient_is_p_minus_p_given_the_node() -> None:
    """Odds 1 : 2 : 1, label "pet": p = (¼, ½, ¼), p given pet = (⅓, ⅔, 0)."""
    scores = torch.tensor([[1.0, 2.0, 1.0]]).log().requires_grad_()
    node_loss(scores, under("pet")).backward()
    wanted = torch.tensor([[1 / 4 - 1 / 3, 1 / 2 - 2 / 3, 1 / 4]])
    torch.testing.assert_close(scores.grad, wanted)


def test_rows_without_a_label_add_exactly_nothing() -> None:
    scores = torch.randn(4, 3, requires_grad=True)
    with_gaps = node_loss(scores, under("rock", None, "pet", None))
    without = node_loss(scores[[0, 2]], under("rock", "pet"))
    assert with_gaps.item() == without.item()
    with_gaps.backward()
    assert scores.grad[[1, 3]].abs().max() == 0
    assert torch.isfinite(scores.grad).all()


def test_a_masked_row_may_hold_anything() -> None:
    """Not a number times zero would be not a number: a masked row is never looked at."""
    scores = torch.tensor([[1.0, 2.0, 3.0], [torch.nan, torch.inf, 0.0]], requires_grad=True)
    assert torch.isfinite(node_loss(scores, under("rock", None)))
    target = torch.tensor([2, MISSING])
    assert torch.isfinite(masked_cross_entropy(scores, target))


def test_no_label_at_all_is_zero_without_a_gradient() -> None:
    scores = torch.randn(2, 3, requires_grad=True)
    for loss in (
        node_loss(scores, under(None, None)),
        masked_cross_entropy(scores, torch.full((2,), MISSING)),
    ):
        assert loss.item() == 0
        assert not loss.requires_grad  # the head's gradient stays None: an optimiser lets it be


@pytest.mark.parametrize("gap", [50.0, 200.0, 1e4, 1e30])
def test_an_underflowing_probability_gives_a_large_finite_loss(gap: float) -> None:
    """exp(−200) is 0 in float32; its loss is 200 all the same, and pulls."""
    scores = torch.tensor([[gap, 0.0, -gap]], requires_grad=True)
    loss = node_loss(scores, under("rock"))
    loss.backward()
    assert loss.item() == pytest.approx(2 * gap, rel=1e-5)
    assert scores.grad.tolist() == [[1.0, pytest.approx(0, abs=1e-20), -1.0]]


def test_masked_cross_entropy_by_hand() -> None:
    """Odds 1:3 and 1:1 with labels; the row between has none: (log 4 + log 2) / 2."""
    scores = torch.tensor([[1.0, 3.0], [9.0, 1.0], [1.0, 1.0]]).log()
    loss = masked_cross_entropy(scores, torch.tensor([0, MISSING, 1]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 2, rel=1e-6)


def test_changing_a_masked_label_changes_nothing() -> None:
    scores = torch.randn(3, 2)
    target = torch.tensor([0, MISSING, 1])
    before = masked_cross_entropy(scores, target)
    scores[1] += 100
    assert masked_cross_entropy(scores, target) == before


def test_sum_up_the_tree_by_hand() -> None:
    log_probs = torch.tensor([[0.2, 0.3, 0.5]]).log()
    found = sum_up_the_tree(log_probs, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.5, 0.5]]))


def test_sum_up_the_tree_keeps_what_float_would_lose() -> None:
    log_probs = torch.tensor([[-500.0, -500.0, 0.0]])
    found = sum_up_the_tree(log_probs, torch.tensor([0, 0, 1]), 2)
    assert found.tolist() == [[pytest.approx(-500 + math.log(2)), 0.0]]


def test_sum_up_the_tree_has_the_gradient_of_logsumexp() -> None:
    scores = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s: sum_up_the_tree(s.log_softmax(1), torch.tensor([0, 0, 1]), 2), (scores,)
    )


@st.composite
def scored_trees(draw: st.DrawFn) -> tuple[Taxonomy, torch.Tensor]:
    """Two to four branches of one to three leaves, and leaf scores in a wide range."""
    leaves: list[str] = []
    for branch in "abcd"[: draw(st.integers(2, 4))]:
        size = draw(st.integers(1, 3))
        leaves += [branch] if size == 1 else [f"{branch}/{i}" for i in range(size)]
    depth = max(leaf.count("/") + 1 for leaf in leaves)
    tree = Taxonomy(tuple(f"level_{i}" for i in range(depth)), tuple(leaves), {})
    numbers = st.floats(-300, 300, width=32)
    rows = draw(st.lists(st.lists(numbers, min_size=len(leaves), max_size=len(leaves)), max_size=4))
    return tree, torch.tensor(rows, dtype=torch.float32).reshape(-1, len(leaves))


@settings(max_examples=60, deadline=None)
@given(scored_trees())
def test_children_sum_to_their_parent_and_the_top_to_one(
    scored: tuple[Taxonomy, torch.Tensor],
) -> None:
    tree, scores = scored
    leaf_log_probs = scores.log_softmax(dim=1)
    for level in tree.levels:
        index = tree.leaf_to_class[level]
        found = sum_up_the_tree(
            leaf_log_probs, torch.from_numpy(index), len(tree.classes[level])
        ).double()
        for row in range(len(scores)):  # the slow twin
            for number in range(len(tree.classes[level])):
                terms = [float(leaf_log_probs[row, i]) for i in np.flatnonzero(index == number)]
                top = max(terms)
                wanted = top + math.log(sum(math.exp(term - top) for term in terms))
                assert float(found[row, number]) == pytest.approx(wanted, rel=1e-4, abs=1e-4)
        torch.testing.assert_close(
            found.exp().sum(dim=1), torch.ones(len(scores), dtype=torch.float64), atol=1e-4, rtol=0
        )


def test_targets_of_no_rows() -> None:
    targets = encode([], TREE)
    assert isinstance(targets, Targets)
    assert len(targets) == 0


def test_leaves_alone_take_the_short_way_to_the_same_loss() -> None:
    """Two labelled leaves and an unlabelled row: −log softmax at the leaves, by either way."""
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [9.0, 9.0, 9.0]])
    targets = encode([{LABEL: "pet/dog"}, {LABEL: "rock"}, {}], TREE)
    assert targets.leaves is not None and targets.leaves.tolist() == [1, 2, MISSING]
    by_hand = -(F.log_softmax(scores[0], 0)[1] + F.log_softmax(scores[1], 0)[2]) / 2
    assert tree_loss(scores, targets) == pytest.approx(by_hand)
    assert tree_loss(scores, targets) == pytest.approx(node_loss(scores, targets.under))


def test_a_label_above_the_leaves_takes_the_long_way() -> None:
    targets = encode([{LABEL: "pet"}, {LABEL: "rock"}], TREE)
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    assert targets.leaves is None
    assert tree_loss(scores, targets) == node_loss(scores, targets.under)
