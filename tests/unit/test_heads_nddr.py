"""NDDR: its first projections, the single-task network in it, and what batch norm does when."""

import torch
from torch import nn
from torch.nn import functional as F

from atlas.heads.nddr import KeptNorm, Nddr
from atlas.losses import encode
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

TREE = Taxonomy(
    ("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")}, ("size",)
)
LABELS = [{LABEL: TREE.leaves[i % 3], "size": str(i)} for i in range(9)]


def rows(number: int = 9) -> torch.Tensor:
    return torch.randn(number, 4, generator=torch.Generator().manual_seed(0))


def test_its_own_column_alone_and_no_norm_give_single_task_networks() -> None:
    head = Nddr(4, TREE, width=5, seed=3)
    for number, own in enumerate(head.tasks.values()):
        own.norm = nn.Identity()
        with torch.no_grad():
            own.project.weight.zero_()
            own.project.weight[:, 5 * number : 5 * number + 5] = torch.eye(5)
    found = head.scores(rows())
    for number, (task, own) in enumerate(head.tasks.items()):
        column = head.columns[number]
        hidden = F.gelu(F.gelu(F.linear(rows(), column.weight, column.bias)))
        assert torch.equal(found[task], F.linear(hidden, own.out.weight, own.out.bias)), task


def test_the_first_projection_takes_most_from_its_own_column() -> None:
    """Four tasks, columns of width 2: 0.9 of the own and 0.1/3 of each other one."""
    head = Nddr(4, TREE, width=2)
    o = 0.1 / 3
    wanted = torch.tensor([[o, 0, 0.9, 0, o, 0, o, 0], [0, o, 0, 0.9, 0, o, 0, o]])
    torch.testing.assert_close(head.tasks["species"].project.weight, wanted)


def test_the_norm_by_hand() -> None:
    """1 and 3: mean 2, spread 1, so −1 and 1 (and a thousandth under the root)."""
    norm = KeptNorm(1)
    x = torch.tensor([[1.0], [3.0]])
    wanted = torch.tensor([[-1.0], [1.0]]) / 1.001**0.5
    torch.testing.assert_close(norm(x), wanted)
    norm.keep(x)
    for training in (True, False):
        norm.train(training)
        torch.testing.assert_close(norm(x), wanted)
        torch.testing.assert_close(norm(torch.tensor([[5.0]])), torch.tensor([[3.0]]) / 1.001**0.5)
    norm.train()(torch.tensor([[50.0], [70.0]]))
    assert norm.running_mean.tolist() == [2.0]


def test_a_row_alone_has_no_spread_and_uses_what_was_kept() -> None:
    norm = KeptNorm(1)
    torch.testing.assert_close(norm(torch.tensor([[5.0]])), torch.tensor([[5.0]]) / 1.001**0.5)
    norm.keep(torch.tensor([[5.0]]))
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([0.0], [1.0])
    head = Nddr(4, TREE)
    sum(head.losses(rows(1), encode(LABELS[:1], TREE)).values()).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in head.columns.parameters())


def test_between_rounds_no_score_changes_and_training_becomes_predicting() -> None:
    head = Nddr(4, TREE, width=5)
    targets = encode(LABELS, TREE)
    absent = {key: value.clone() for key, value in head.tasks["colour"].state_dict().items()}
    before = head.losses(rows(), targets)
    head.between_rounds(rows(), targets)
    after = head.losses(rows(), targets)
    predicted = head.eval().losses(rows(), targets)
    assert set(before) == {"kind", "species", "size"}
    for task, loss in before.items():
        torch.testing.assert_close(after[task], loss)
        assert torch.equal(after[task], predicted[task])
    for key, value in head.tasks["colour"].state_dict().items():
        assert torch.equal(value, absent[key]), key
