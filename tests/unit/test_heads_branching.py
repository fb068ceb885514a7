"""Branching: affinity and grouping by hand; a split that changes no output and is saved."""

import numpy as np
import pytest
import torch

from atlas.heads.branching import Branching, grouped
from atlas.losses import encode
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

TREE = Taxonomy(
    ("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")}, ("size",)
)


def rows(number: int = 8) -> torch.Tensor:
    return torch.randn(number, 4, generator=torch.Generator().manual_seed(0))


def test_it_starts_thin() -> None:
    head = Branching(4, TREE, width=5)
    assert head.branch_of.tolist() == [0, 0, 0, 0]
    sum(scores.sum() for scores in head.scores(rows()).values()).backward()
    assert head.branches[0].weight.grad is not None
    assert all(branch.weight.grad is None for branch in head.branches[1:])


def test_a_split_changes_no_output() -> None:
    head = Branching(4, TREE, width=5, seed=1)
    before = head.scores(rows())
    head.split(torch.tensor([0, 0, 1, 2]))
    after = head.scores(rows())
    assert all(torch.equal(after[task], before[task]) for task in before)
    with torch.no_grad():
        head.branches[1].weight.add_(1)
    moved = head.scores(rows())
    assert [task for task in before if not torch.equal(moved[task], before[task])] == ["colour"]


def test_the_last_layer_that_all_share_is_the_branch_until_it_splits() -> None:
    """GradNorm compares the tasks there."""
    head = Branching(4, TREE, width=5)
    assert head.shared()[0] is head.branches[0].weight
    head.split(torch.tensor([1, 1, 1, 1]))
    assert head.shared()[0] is head.branches[1].weight
    head.split(torch.tensor([1, 1, 0, 1]))
    assert head.shared()[0] is head.trunk.weight


def test_a_saved_state_keeps_its_groups() -> None:
    head, other = Branching(4, TREE, width=5, seed=1), Branching(4, TREE, width=5, seed=2)
    head.split(torch.tensor([0, 1, 1, 2]))
    other.load_state_dict(head.state_dict())
    assert other.branch_of.tolist() == [0, 1, 1, 2]
    for task, scores in head.scores(rows()).items():
        assert torch.equal(other.scores(rows())[task], scores), task


def test_affinity_by_hand() -> None:
    """All scores are biases: the favoured class is easy, and so is a size near 0.

    Images 0 to 3 are easy for: kind 0 1, colour 0 2, size 0 1. Kind and size agree on all four,
    kind and colour on 0 (easy) and 3 (hard). Image 4 has a species alone, with no other task.
    """
    head = Branching(4, TREE, width=5)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.tasks["kind"].bias[0] = 1.0
        head.tasks["colour"].bias[0] = 1.0
    targets = encode(
        [
            {LABEL: "pet", "colour": "red", "size": "0.1"},
            {LABEL: "pet", "colour": "blue", "size": "-0.2"},
            {LABEL: "rock", "colour": "red", "size": "5"},
            {LABEL: "rock", "colour": "blue", "size": "-6"},
            {},
        ],
        TREE,
    )
    targets.classes["species"][:] = torch.tensor([-1, -1, -1, -1, 1])
    found = head.affinity(torch.zeros(5, 4), targets, ("kind", "colour", "size", "species"))
    wanted = [[1, 0.5, 1, 0.5], [0.5, 1, 0.5, 0.5], [1, 0.5, 1, 0.5], [0.5, 0.5, 0.5, 1]]
    assert found.tolist() == wanted


@pytest.mark.parametrize(
    ("affinity", "wanted"),
    [
        # one group costs ½; two .15 + (.1 + 0)/2 = .2; three .3
        ([[1, 0.9, 0.5], [0.9, 1, 0.5], [0.5, 0.5, 1]], [0, 0, 1]),
        # one group costs .05, two .15 and more
        ([[1, 0.95, 0.95], [0.95, 1, 0.95], [0.95, 0.95, 1]], [0, 0, 0]),
        # one group costs .5; the best two .15 + .5/2 = .4; three .3
        ([[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]], [0, 1, 2]),
        # two pairs that cross: .15 + (.1 + .1)/2 = .25; groups go by their first task
        (
            [[1, 0.4, 0.9, 0.4], [0.4, 1, 0.4, 0.9], [0.9, 0.4, 1, 0.4], [0.4, 0.9, 0.4, 1]],
            [0, 1, 0, 1],
        ),
        ([[1]], [0]),
        ([], []),
    ],
)
def test_grouping_by_hand(affinity: list[list[float]], wanted: list[int]) -> None:
    assert grouped(np.array(affinity, dtype=float)) == wanted


def test_it_splits_once_and_tasks_without_labels_stay_put() -> None:
    """The kind is easy on the first half of the images, the size on every second one."""
    head = Branching(4, TREE, width=5)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.tasks["kind"].bias[0] = 1.0
    labels = [
        {LABEL: "pet" if i < 4 else "rock", "size": "0.1" if i % 2 else "5"} for i in range(8)
    ]
    targets = encode(labels, TREE)
    targets.classes["species"].fill_(-1)
    head.between_rounds(rows(), targets)
    assert head.branch_of.tolist() == [0, 0, 0, 1]
    head.between_rounds(rows(), encode([{LABEL: "pet"}] * 8, TREE))
    assert head.branch_of.tolist() == [0, 0, 0, 1]


def test_the_penalty_is_on_branches_in_use() -> None:
    """Trunk, branch and outputs of ones, width 1: 1·4; per branch 1; outputs 2, 3, 2 and 1."""
    head = Branching(4, TREE, l2=0.2, width=1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(1.0)
    assert head.penalty().item() == pytest.approx(0.1 * (4 + 1 + 2 + 3 + 2 + 1))
    head.split(torch.tensor([0, 0, 1, 0]))
    assert head.penalty().item() == pytest.approx(0.1 * (4 + 2 + 2 + 3 + 2 + 1))
    assert head.penalty(("kind",)).item() == pytest.approx(0.1 * (4 + 1 + 2))
