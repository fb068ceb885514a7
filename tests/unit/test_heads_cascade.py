"""The cascade: without links it is the shared trunk; a link carries probabilities and gradients."""

import math

import torch

from atlas.heads.cascade import Cascade
from atlas.heads.shared_trunk import SharedTrunk
from atlas.losses import encode
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

TREE = Taxonomy(
    ("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")}, ("size",)
)


def randomised(*, links: bool) -> Cascade:
    head = Cascade(4, TREE, width=5)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if links or "link" not in name:
                parameter.normal_(0, 1, generator=generator)
    return head


def test_zeroed_links_give_independent_heads() -> None:
    cascade, trunk = randomised(links=False), SharedTrunk(4, TREE, width=5)
    state = cascade.state_dict()
    trunk.load_state_dict(
        {key.replace(".out.", "."): value for key, value in state.items() if ".link." not in key}
    )
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    wanted = trunk.scores(x)
    found = cascade.scores(x)
    assert set(found) == {"kind", "species", "colour", "size"}
    assert all(torch.equal(found[task], wanted[task]) for task in wanted)
    linked = randomised(links=True).scores(x)
    assert not torch.allclose(linked["species"], randomised(links=False).scores(x)["species"])


def test_a_stage_sees_the_stage_before_by_hand() -> None:
    """With nothing hidden, the kind is ¾ to ¼: the species get 1·¾, 1·¼ and 2·¾ + 2·¼."""
    head = Cascade(4, TREE, width=5)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.tasks["kind"].out.bias[0] = math.log(3)
        head.tasks["species"].link.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [2, 2]]))
    found = head.scores(torch.ones(1, 4))["species"]
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.25, 2.0]]))


def test_a_fine_label_trains_the_coarse_stage_through_the_link_alone() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    targets = encode([{LABEL: leaf} for leaf in TREE.leaves], TREE)
    for links in (True, False):
        head = randomised(links=links)
        head.losses(x, targets)["species"].backward()
        assert bool(head.tasks["kind"].out.weight.grad.any()) == links


def test_levels_are_a_chain_and_the_rest_stands_alone() -> None:
    head = Cascade(4, TREE)
    links = {task: stage.link for task, stage in head.tasks.items()}
    assert [task for task, link in links.items() if link is not None] == ["species"]
    assert links["species"].weight.shape == (3, 2)
    assert not links["species"].weight.any()
