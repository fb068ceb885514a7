"""The balancers' arithmetic: on small numbers, and against slow visible twins."""

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.balancers.fixed import Fixed
from atlas.balancers.gradnorm import GradNorm
from atlas.balancers.uncertainty import Uncertainty
from atlas.balancers.uniform import Uniform
from atlas.errors import SettingsError
from atlas.heads.shared_trunk import SharedTrunk
from atlas.heads.tree import Tree
from atlas.taxonomy import Taxonomy

FLAT = Taxonomy(("kind",), ("a", "b"), {"colour": ("red", "blue")})


def constants(**values: float) -> dict[str, Tensor]:
    return {task: torch.tensor(value) for task, value in values.items()}


def test_uniform_is_the_sum() -> None:
    assert float(Uniform(("a", "b"))(constants(a=0.5, b=0.25))) == 0.75


def test_fixed_by_hand() -> None:
    """2 · 0.5 + 1 · 0.25; b has no weight of its own."""
    assert float(Fixed(("a", "b"), {"a": 2})(constants(a=0.5, b=0.25))) == 1.25


def test_fixed_says_which_tasks_there_are() -> None:
    with pytest.raises(SettingsError, match="no task colour; this head has a loss for kind, size"):
        Fixed(("kind", "size"), {"colour": 1.0})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_fixed_weights_are_above_zero(weight: float) -> None:
    with pytest.raises(SettingsError, match="the weight of kind is .*must be above 0"):
        Fixed(("kind",), {"kind": weight})


def set_log_variance(balancer: Uncertainty, value: float) -> None:
    with torch.no_grad():
        for free in balancer.parameters():
            free.fill_(balancer.limit * np.arctanh(value / balancer.limit))


def test_uncertainty_by_hand() -> None:
    """A class with cross-entropy 0.8 and s = log 2: 0.8 / 2 + log 2 / 2.

    A number with squared error 0.6: Kendall's ½ · 0.6 / 2 + log 2 / 2; our loss is 0.3 already.
    """
    balancer = Uncertainty(("kind", "length"))
    set_log_variance(balancer, log(2))
    kind = balancer(constants(kind=0.8)).item()
    assert kind == pytest.approx(0.4 + log(2) / 2)
    length = balancer(constants(length=0.6 / 2)).item()
    assert length == pytest.approx(0.5 * 0.6 * exp(-log(2)) + log(2) / 2)


def best(balancer: Uncertainty, losses: dict[str, Tensor]) -> None:
    optimizer = torch.optim.LBFGS(
        balancer.parameters(), max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = balancer(losses)
        loss.backward()
        return loss

    optimizer.step(closure)


@pytest.mark.parametrize("loss", [0.05, 0.5, 3.0])
def test_uncertaintys_optimum(loss: float) -> None:
    """At s = log 2L the weight is 1/(2L); for a number with squared error 2L that is s = log SE."""
    balancer = Uncertainty(("kind",))
    best(balancer, constants(kind=loss))
    assert balancer.weights()["kind"] == pytest.approx(1 / (2 * loss), rel=1e-3)
    given = torch.tensor(loss, requires_grad=True)
    balancer({"kind": given}).backward()
    assert float(given.grad) == pytest.approx(1 / (2 * loss), rel=1e-3)


def test_uncertainty_leaves_an_absent_task_alone() -> None:
    """Its s/2 is masked as well; unmasked it would fall for ever."""
    balancer = Uncertainty(("kind", "colour"))
    best(balancer, constants(kind=0.01))
    assert balancer.weights()["kind"] > 10
    assert balancer.weights()["colour"] == 1.0


@pytest.mark.parametrize("loss", [0.0, 1e-12, 1e9])
def test_uncertainty_stays_within_its_limits_and_comes_back(loss: float) -> None:
    balancer = Uncertainty(("kind",), limit=3.0)
    best(balancer, constants(kind=loss))
    assert exp(-3) <= balancer.weights()["kind"] <= exp(3) * (1 + 1e-6)
    set_log_variance(balancer, 2.9 if loss > 1 else -2.9)
    best(balancer, constants(kind=0.5))
    assert balancer.weights()["kind"] == pytest.approx(1.0, rel=1e-3)


def shared_losses(slopes: dict[str, float], at: float = 1.0) -> tuple[dict[str, Tensor], Tensor]:
    """Losses slope · w of one shared weight w: their gradients have the size of the slope."""
    weight = torch.tensor([at], requires_grad=True)
    return {task: (slope * weight).sum() for task, slope in slopes.items()}, weight


def test_gradnorms_gap_by_hand() -> None:
    """Gradients 3 and 1, both at their first loss, so the target of both is the mean, 2.

    |3w_a − 2| + |1w_b − 2| at w = (1, 1) has the derivative (3, −1).
    """
    balancer = GradNorm(("a", "b"))
    losses, shared = shared_losses({"a": 3.0, "b": 1.0})
    assert balancer.gap_gradients(losses, [shared]).tolist() == [3.0, -1.0]


def test_gradnorms_first_step_by_hand() -> None:
    """Adam's first step is lr against the sign: 1 − .025 and 1 + .025, which sum to 2 already."""
    balancer = GradNorm(("a", "b"))
    losses, shared = shared_losses({"a": 3.0, "b": 1.0})
    balancer.before_step(losses, [shared])
    assert balancer.weights() == pytest.approx({"a": 0.975, "b": 1.025}, abs=1e-5)
    assert shared.grad is None and shared.tolist() == [1.0]  # only weights moved
    balancer(losses).backward()
    assert float(shared.grad) == pytest.approx(0.975 * 3 + 1.025 * 1, abs=1e-4)


def gap_by_autograd(
    weights: Tensor, losses: dict[str, Tensor], shared: list[Tensor], first: list[float]
) -> Tensor:
    """The paper's own way: through the norms of the gradients of w·L."""
    norms, fallen = [], []
    for weight, loss, start in zip(weights, losses.values(), first, strict=True):
        parts = torch.autograd.grad(weight * loss, shared, create_graph=True)
        norms.append(torch.cat([part.flatten() for part in parts]).norm())
        fallen.append(loss.detach() / start)
    pace = torch.stack(fallen) / (sum(fallen) / len(fallen))
    scaled = torch.stack(norms)
    target = (scaled.mean() * pace**1.5).detach()
    return torch.autograd.grad((scaled - target).abs().sum(), weights)[0]


def test_gradnorm_against_its_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(4, 3, generator=generator).requires_grad_() for _ in range(2))
    x = torch.randn(5, 3, generator=generator)

    def losses() -> dict[str, Tensor]:
        hidden = torch.tanh(x @ first.T) @ second
        return {
            "a": hidden.square().mean(),
            "b": (hidden - 2).abs().mean(),
            "c": hidden.exp().mean(),
        }

    balancer = GradNorm(("a", "b", "c"))
    start = [float(loss.detach()) for loss in losses().values()]
    for number in range(5):
        now = losses()
        weights = torch.tensor(list(balancer.weights().values()), requires_grad=True)
        twin = gap_by_autograd(weights, now, [first, second], start)
        found = balancer.gap_gradients(now, [first, second])
        torch.testing.assert_close(found, twin, rtol=1e-4, atol=1e-5)
        balancer.before_step(now, [first, second])
        assert sum(balancer.weights().values()) == pytest.approx(3, abs=1e-5), number
        step = 0.1 * torch.autograd.grad(sum(losses().values()), first)[0]
        with torch.no_grad():
            first -= step


def test_identical_tasks_keep_a_weight_of_one() -> None:
    balancer = GradNorm(("a", "b", "c"))
    for at in (1.0, 0.7, 0.3):
        losses, shared = shared_losses({"a": 2.0, "b": 2.0, "c": 2.0}, at)
        balancer.before_step(losses, [shared])
    assert balancer.weights() == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_a_task_that_learns_more_slowly_gets_more() -> None:
    """Equal gradients; a's loss has halved, b's is where it was."""
    balancer = GradNorm(("a", "b"))
    shared = torch.tensor([1.0], requires_grad=True)
    for fall in (0.0, 0.5):
        losses = {"a": shared.sum() - fall, "b": shared.sum() * 1.0}
        balancer.before_step(losses, [shared])
    weights = balancer.weights()
    assert weights["b"] > 1 > weights["a"]


def test_a_task_that_comes_later_starts_from_its_own_first_loss() -> None:
    balancer = GradNorm(("a", "b", "late"))
    for at in (1.0, 0.5):
        losses, shared = shared_losses({"a": 2.0, "b": 1.0}, at)
        balancer.before_step(losses, [shared])
    assert balancer.weights()["late"] == 1.0
    # a and b have halved; late is at its first loss, so it is behind the others
    losses, shared = shared_losses({"a": 2.0, "b": 1.0, "late": 1.5}, 0.5)
    scaled = torch.tensor(list(balancer.weights().values())) * torch.tensor([2.0, 1.0, 1.5])
    pace = torch.tensor([0.5, 0.5, 1.0]) / (2 / 3)
    sign = torch.sign(scaled - scaled.mean() * pace**1.5)
    wanted = torch.tensor([2.0, 1.0, 1.5]) * sign
    torch.testing.assert_close(balancer.gap_gradients(losses, [shared]), wanted)


def test_gradnorm_keeps_the_sum_whoever_is_there() -> None:
    balancer = GradNorm(("a", "b", "c"))
    for slopes in ({"a": 3.0, "b": 1.0, "c": 0.2}, {"a": 3.0, "c": 0.2}, {"b": 1.0}):
        before = balancer.weights()
        losses, shared = shared_losses(slopes)
        balancer.before_step(losses, [shared])
        after = balancer.weights()
        assert sum(after.values()) == pytest.approx(3, abs=1e-5)
        assert all(after[task] == before[task] for task in after if task not in slopes)


def test_gradnorms_weights_never_reach_zero() -> None:
    balancer = GradNorm(("a", "b"), lr=5.0)
    for _ in range(4):
        losses, shared = shared_losses({"a": 1000.0, "b": 1e-3})
        balancer.before_step(losses, [shared])
        assert min(balancer.weights().values()) > 0


def test_gradnorm_without_a_shared_layer_names_heads_that_have_one() -> None:
    balancer = GradNorm(("label", "colour"))
    balancer.check(SharedTrunk(3, FLAT))
    with pytest.raises(SettingsError, match="gradnorm compares.*the head tree has none.*trunk"):
        balancer.check(Tree(3, FLAT))
