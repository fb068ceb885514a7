"""Training in steps: where it ends, what it leaves alone, and batches of partly labelled images."""

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.balancers import Balancer
from atlas.balancers.fixed import Fixed
from atlas.balancers.gradnorm import GradNorm
from atlas.balancers.uncertainty import Uncertainty
from atlas.balancers.uniform import Uniform
from atlas.errors import SettingsError, TrainingError
from atlas.heads import Head
from atlas.heads.shared_trunk import SharedTrunk
from atlas.heads.tree import Tree
from atlas.losses import MISSING, Targets, encode
from atlas.settings import HeadSettings, StepSettings
from atlas.taxonomy import Taxonomy
from atlas.training.methods import Corrected, MethodOne, MethodTwo
from atlas.training.optimise import new_balancer, optimise, tasks_of
from atlas.training.steps import run_steps
from atlas.types import LABEL

TREE = Taxonomy(("kind",), ("a", "b", "c"), {"colour": ("red", "blue")}, ("length",))
FEATURES = 4


def toy(rows: int = 12, seed: int = 0) -> tuple[Tensor, Targets]:
    """Every row has a kind, each second a colour, each third a length."""
    rng = np.random.default_rng(seed)
    labels: list[dict[str, str]] = []
    for i in range(rows):
        label = {LABEL: "abc"[int(rng.integers(3))]}
        if i % 2:
            label["colour"] = ("red", "blue")[int(rng.integers(2))]
        if i % 3 == 0:
            label["length"] = f"{rng.normal():.3f}"
        labels.append(label)
    x = torch.from_numpy(rng.normal(size=(rows, FEATURES)).astype(np.float32))
    return x, encode(labels, TREE)


def gradient(head: Head, balancer: Balancer, loss: Tensor) -> Tensor:
    parameters = [*head.parameters(), *balancer.parameters()]
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(parameters, found, strict=True)
        ]
    )


def objective(head: Head, x: Tensor, targets: Targets) -> float:
    with torch.no_grad():
        return float(sum(head.losses(x, targets).values()) + head.penalty(head.present(targets)))


def test_steps_end_where_lbfgs_ends() -> None:
    """The tree's loss is convex, so both must find the same least value."""
    x, targets = toy(60)
    by_steps, by_lbfgs = Tree(FEATURES, TREE), Tree(FEATURES, TREE)
    optimise(by_lbfgs, x, targets, HeadSettings(), np.random.default_rng(0))
    by_steps.number_mean.copy_(by_lbfgs.number_mean)
    by_steps.number_std.copy_(by_lbfgs.number_std)
    one = MethodOne(by_steps, x, targets, 100, np.random.default_rng(0))
    run_steps(by_steps, Uniform(("label",)), one.losses_at, StepSettings(count=400))
    reached = objective(by_steps, x, targets)
    least = objective(by_lbfgs, x, targets)
    assert reached == pytest.approx(least, abs=1e-3)


def test_method_two_ends_near_it_as_well() -> None:
    x, targets = toy(60)
    least, two = Tree(FEATURES, TREE), Tree(FEATURES, TREE)
    optimise(least, x, targets, HeadSettings(), np.random.default_rng(0))
    settings = HeadSettings(method="two", steps=StepSettings(count=600))
    optimise(two, x, targets, settings, np.random.default_rng(0))
    assert objective(two, x, targets) < objective(least, x, targets) + 0.02


@pytest.mark.parametrize("balancer", [Uniform, Fixed, Uncertainty])
@pytest.mark.parametrize("head", [Tree, SharedTrunk])
def test_the_expectation_of_method_two_is_method_one(
    head: type[Head], balancer: type[Balancer]
) -> None:
    """12 kinds, 6 colours, 4 lengths: chances 12/22, 6/22 and 4/22. Every draw is gone through."""
    x, targets = toy()
    mine = head(FEATURES, TREE, l2=0.3)
    generator = torch.Generator().manual_seed(0)
    weigher = balancer(tasks_of(mine))
    if isinstance(weigher, Fixed):
        weigher = Fixed(tasks_of(mine), {"colour": 2.5, "length": 0.5})
    with torch.no_grad():
        for parameter in [*mine.parameters(), *weigher.parameters()]:
            parameter.normal_(generator=generator)
    losses = mine.losses(x, targets)
    one = gradient(mine, weigher, weigher(losses) + mine.penalty(losses))
    two = MethodTwo(mine, x, targets, 100, np.random.default_rng(0))
    assert sorted(two.chance.values()) == [4 / 22, 6 / 22, 12 / 22]
    corrected, expected, uncorrected = Corrected(weigher, two.chance), 0.0, 0.0
    for task, chance in two.chance.items():
        drawn = two.losses_of(task)
        assert list(drawn) == [task]
        penalty = mine.penalty(drawn) + two.rest_of_penalty(0)
        expected += chance * gradient(mine, weigher, corrected(drawn) + penalty)
        uncorrected += chance * gradient(mine, weigher, weigher(drawn) + penalty)
    torch.testing.assert_close(expected, one, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(uncorrected, one, rtol=1e-2)


def test_tasks_are_drawn_by_their_labels() -> None:
    x, targets = toy()
    two = MethodTwo(Tree(FEATURES, TREE), x, targets, 100, np.random.default_rng(0))
    draws = [next(iter(two.losses_at(step))) for step in range(880)]
    for task, chance in two.chance.items():
        deviation = (880 * chance * (1 - chance)) ** 0.5
        assert abs(draws.count(task) - 880 * chance) < 5 * deviation


def test_a_batch_holds_rows_with_a_label_for_the_task() -> None:
    """The lengths lie in rows 0, 3, 6 and 9; batches of 3 of them are means over three."""
    x, targets = toy()
    head = SharedTrunk(FEATURES, TREE)
    possible = set()
    for left_out in (0, 3, 6, 9):
        rows = torch.tensor([row for row in (0, 3, 6, 9) if row != left_out])
        possible.add(round(float(head.losses(x[rows], targets[rows])["length"].detach()), 5))
    two = MethodTwo(head, x, targets, 3, np.random.default_rng(0))
    seen = {round(float(two.losses_of("length")["length"].detach()), 5) for _ in range(60)}
    assert seen == possible


def test_method_one_takes_all_rows_that_fit_and_draws_from_more() -> None:
    x, targets = toy()
    head = SharedTrunk(FEATURES, TREE)
    whole = {task: loss.item() for task, loss in head.losses(x, targets).items()}
    one = MethodOne(head, x, targets, 12, np.random.default_rng(0))
    assert {task: loss.item() for task, loss in one.losses_at(0).items()} == whole
    few = MethodOne(head, x, targets, 3, np.random.default_rng(0))
    assert few.losses_at(0)["kind"].item() != few.losses_at(1)["kind"].item()


def test_layers_of_absent_tasks_are_not_touched_by_momentum_or_penalty() -> None:
    """The colour is there in the first steps only, then it must stay where it is."""
    x, targets = toy()
    head = SharedTrunk(FEATURES, TREE, l2=0.5)
    colourless = {**targets.classes, "colour": torch.full((len(x),), MISSING)}
    without = Targets(targets.under, colourless, targets.numbers)
    kept: list[Tensor] = []

    def losses_at(step: int) -> dict[str, Tensor]:
        if step == 5:
            kept.extend(p.detach().clone() for p in head.tasks["colour"].parameters())
        return head.losses(x, targets if step < 5 else without)

    run_steps(head, Uniform(("kind",)), losses_at, StepSettings(count=20))
    for before, after in zip(kept, head.tasks["colour"].parameters(), strict=True):
        assert torch.equal(before, after)


def test_the_learning_rate_warms_up_and_falls() -> None:
    """A loss of w has the gradient 1, and Adam's step then is the learning rate itself."""
    head = Tree(1, Taxonomy(("kind",), ("a", "b"), {}), l2=0.0)
    places: list[float] = []

    def losses_at(step: int) -> dict[str, Tensor]:
        places.append(head.leaves.weight[0, 0].item())
        return {LABEL: head.leaves.weight.sum() * 1.0}

    run_steps(head, Uniform((LABEL,)), losses_at, StepSettings(count=100, lr=0.2))
    rates = -np.diff(places)
    assert rates[0] == pytest.approx(0.2 / 20, rel=1e-3)
    assert rates[5] == pytest.approx(0.2, rel=0.02)  # 100 / 20 steps of warm-up
    assert rates[50] == pytest.approx(0.1, rel=0.01)  # half of half a cosine
    assert rates[98] < 0.001
    assert rates.argmax() == 5


def test_an_extra_loss_counts() -> None:
    """Nothing but the extra loss pulls the colour's bias, to 3."""
    x, targets = toy()
    head = SharedTrunk(FEATURES, TREE, l2=0.0)
    bias = head.tasks["colour"].bias

    def kinds(step: int) -> dict[str, Tensor]:
        return {"kind": head.losses(x, targets)["kind"]}

    def extra(step: int) -> Tensor:
        return (bias - 3).square().sum()

    run_steps(head, Uniform(("kind",)), kinds, StepSettings(count=300, lr=0.1), extra=extra)
    torch.testing.assert_close(bias.detach(), torch.tensor([3.0, 3.0]), atol=1e-2, rtol=0)


def test_a_loss_that_is_not_finite_stops() -> None:
    x, targets = toy()
    head = SharedTrunk(FEATURES, TREE)
    x[0, 0] = torch.nan
    one = MethodOne(head, x, targets, 100, np.random.default_rng(0))
    with pytest.raises(TrainingError, match="bottlenecks are damaged"):
        run_steps(head, Uniform(("kind",)), one.losses_at, StepSettings(count=2))


def test_what_cannot_be_together_says_so() -> None:
    tree, trunk = Tree(FEATURES, TREE), SharedTrunk(FEATURES, TREE)
    with pytest.raises(SettingsError, match="the head tree has none; heads with one: .*trunk"):
        new_balancer(tree, HeadSettings(balancer="gradnorm"))
    with pytest.raises(SettingsError, match="heads with one"):
        run_steps(tree, GradNorm((LABEL,)), lambda step: {}, StepSettings())
    x, targets = toy()
    both = HeadSettings(name="shared_trunk", balancer="gradnorm", method="two")
    with pytest.raises(
        SettingsError, match="gradnorm compares .*one task a batch; set head.method"
    ):
        optimise(trunk, x, targets, both, np.random.default_rng(0))
    unknown = HeadSettings(balancer="fixed", balancer_args={"by_task": {"size": 2.0}})
    with pytest.raises(SettingsError, match="no task size; .* label, colour, length"):
        new_balancer(tree, unknown)


def test_the_tasks_a_head_has_losses_for() -> None:
    assert tasks_of(Tree(FEATURES, TREE)) == (LABEL, "colour", "length")
    assert tasks_of(SharedTrunk(FEATURES, TREE)) == ("kind", "colour", "length")
