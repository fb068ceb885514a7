"""The quantities of the tree head: ridge regression, worked out instead of searched."""

from itertools import product

import numpy as np
import pytest
import torch

from atlas.heads._layers import ridge
from atlas.losses import encode
from atlas.settings import HeadSettings, StepSettings
from atlas.taxonomy import Taxonomy
from atlas.training.optimise import new_balancer, new_head, optimise
from atlas.training.steps import run_steps

TAXONOMY = Taxonomy(("kind",), ("a", "b", "c"), {"colour": ("red", "blue")}, ("size", "weight"))


def test_ridge_by_hand() -> None:
    """Around their means x = y = (-1, 0, 1): w = 2 / (2 + 3 l2) and b = 1 - w."""
    x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0.0, 1.0, 2.0])
    weight, bias = ridge(x, y, 2 / 3)
    assert weight.tolist() == pytest.approx([0.5])
    assert bias.item() == pytest.approx(0.5)


@pytest.mark.parametrize(("rows", "features"), [(40, 5), (5, 40), (1, 3)])
def test_ridge_leaves_no_slope(rows: int, features: int) -> None:
    """With more rows than features and with fewer; of one row the weights are 0."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=rng)
    y = torch.randn(rows, generator=rng)
    weight, bias = (one.double().requires_grad_() for one in ridge(x, y, 0.3))
    loss = (x.double() @ weight + bias - y).square().mean() / 2 + 0.3 / 2 * weight.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None and bias.grad is not None
    assert weight.grad.abs().max() < 1e-6
    assert bias.grad.abs() < 1e-6
    assert rows > 1 or not weight.any()


@pytest.mark.parametrize("by_task", [{}, {"size": 3.0, "colour": 0.5}])
def test_the_whole_fit_is_at_its_lowest(by_task: dict[str, float]) -> None:
    """Also where a task counts more than another, and where some rows have no number."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((60, 8)).astype(np.float32))
    labels = [
        {"label": leaf, "colour": colour, "size": f"{value:.3f}"}
        for (leaf, colour), value in zip(
            list(product("abc", ("red", "blue"))) * 10, rng.standard_normal(60), strict=True
        )
    ]
    for one in labels[::4]:
        del one["size"]
    settings = HeadSettings(balancer="fixed", balancer_args={"by_task": by_task})
    head = new_head(8, TAXONOMY, settings, (torch.zeros(8), torch.ones(8)))
    targets = encode(labels, TAXONOMY)
    optimise(head, x, targets, settings, rng)
    head.zero_grad()
    balancer = new_balancer(head, settings)
    loss = balancer(head.losses(x, targets)) + head.penalty(head.present(targets))
    loss.backward()
    slopes = {
        name: float(parameter.grad.abs().max())
        for name, parameter in head.named_parameters()
        if parameter.grad is not None
    }
    assert slopes.pop("extra.size.weight") < 1e-6  # exact, where the rest is searched
    assert slopes.pop("extra.size.bias") < 1e-6
    assert max(slopes.values()) < 5e-3
    assert not head.get_parameter("extra.weight.weight").any()  # nobody gave one


@pytest.mark.parametrize("label", [{"colour": "red"}, {}])
def test_steps_whose_labels_have_no_node_leave_the_leaves_alone(label: dict[str, str]) -> None:
    """Also those of a batch without any label, as annealing may leave it."""
    settings = HeadSettings(steps=StepSettings(count=3))
    head = new_head(4, TAXONOMY, settings, (torch.zeros(4), torch.ones(4)))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(generator=rng)
    x, targets = torch.randn(8, 4, generator=rng), encode([label] * 8, TAXONOMY)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    run_steps(head, new_balancer(head, settings), lambda _: head.losses(x, targets), settings.steps)
    moved = {name for name, value in head.state_dict().items() if not value.equal(before[name])}
    assert moved == {f"extra.{task}.{part}" for task in label for part in ("weight", "bias")}
