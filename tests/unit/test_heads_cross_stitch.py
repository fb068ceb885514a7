"""Cross-stitch: with the identity for α these are single-task networks, to the last bit."""

import pytest
import torch
from torch.nn import functional as F

from atlas.errors import PluginError
from atlas.heads.cross_stitch import CrossStitch, Stitch
from atlas.taxonomy import Taxonomy

TREE = Taxonomy(
    ("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")}, ("size",)
)


def stitches(head: CrossStitch) -> list[Stitch]:
    return [module for module in head.modules() if isinstance(module, Stitch)]


@pytest.mark.parametrize("widths", [(5,), (6, 5), (6, 6, 5)])
def test_the_identity_gives_single_task_networks(widths: tuple[int, ...]) -> None:
    head = CrossStitch(4, TREE, widths=widths, seed=3)
    with torch.no_grad():
        for stitch in stitches(head):
            stitch.others.zero_()
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    found = head.scores(x)
    for number, task in enumerate(TREE.outputs):
        hidden = x
        for layer in head.layers:
            hidden = F.gelu(F.linear(hidden, layer[number].weight, layer[number].bias))
        out = head.tasks[task][1]
        assert torch.equal(found[task], F.linear(hidden, out.weight, out.bias)), task


def test_a_stitch_by_hand() -> None:
    """Columns of 1, 10 and 100; 0.2 and 0.3 of the others leave 0.5 of its own."""
    columns = torch.tensor([1.0, 10.0, 100.0]).reshape(3, 1, 1)
    for own, wanted in ((0, 0.5 + 2 + 30), (1, 0.2 + 5 + 30), (2, 0.2 + 3 + 50)):
        stitch = Stitch(own, 3)
        with torch.no_grad():
            stitch.others.copy_(torch.tensor([0.2, 0.3]))
        torch.testing.assert_close(stitch(columns), torch.tensor([[wanted]]))


def test_rows_of_alpha_start_near_the_identity_and_always_sum_to_one() -> None:
    head = CrossStitch(4, TREE, widths=(6, 5))
    assert len(stitches(head)) == 2 * 4
    first = torch.stack([stitch.alpha for stitch in stitches(head)[:4]])
    wanted = torch.full((4, 4), 0.1 / 3).fill_diagonal_(0.9)
    torch.testing.assert_close(first, wanted)
    with torch.no_grad():
        for number, stitch in enumerate(stitches(head)):
            stitch.others.normal_(0, 3, generator=torch.Generator().manual_seed(number))
    for stitch in stitches(head):
        assert stitch.alpha.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_single_task_has_nobody_to_take_from() -> None:
    flat = Taxonomy(("kind",), ("a", "b"), {})
    head = CrossStitch(4, flat, widths=(3, 3))
    assert all(stitch.alpha.tolist() == [1.0] for stitch in stitches(head))
    assert head.scores(torch.ones(2, 4))["kind"].shape == (2, 2)


def test_a_column_without_layers() -> None:
    with pytest.raises(PluginError, match=r"widths is empty; give one or more, such as \[32\]"):
        CrossStitch(4, TREE, widths=())
