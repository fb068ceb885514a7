"""What every balancer promises; a new file in `atlas/balancers` is tested by being there."""

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas import plugins
from atlas.balancers import Balancer
from atlas.evaluation import count_correct
from atlas.settings import HeadSettings, StepSettings
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import Fit, fit_head
from atlas.training.optimise import new_head
from atlas.types import LABEL

TASKS = ("kind", "colour", "length")
TREE = Taxonomy(
    ("family", "kind"),
    ("round/ball", "round/ring", "box/box", "box/cross"),
    {"colour": ("red", "blue")},
    ("length",),
)
FEATURES = 6
STEPS = StepSettings(count=100, lr=0.03)
FEW_STEPS = StepSettings(count=10)

pytestmark = pytest.mark.parametrize("name", plugins.available("atlas.balancers"))


def new(name: str) -> Balancer:
    balancer: Balancer = plugins.build("atlas.balancers", name, {"tasks": TASKS})
    return balancer


def losses(**values: float) -> dict[str, Tensor]:
    return {task: torch.tensor(value, requires_grad=True) for task, value in values.items()}


def toy(per_leaf: int, seed: int) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Blobs, one a leaf; a colour by another feature; a length that two features add up to."""
    centres = 3 * np.eye(4, FEATURES)
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for number in range(4 * per_leaf):
        row = centres[number % 4] + rng.normal(0, 0.4, FEATURES)
        red = bool(rng.integers(2))
        row[4] = (3 if red else -3) + rng.normal(0, 0.4)
        rows.append(row)
        labels.append(
            {
                LABEL: TREE.leaves[number % 4],
                "colour": "red" if red else "blue",
                "length": f"{50 + 10 * (row[0] + row[5]):.4f}",
            }
        )
    return np.array(rows, dtype=np.float32), labels


def fit(
    name: str, labels: list[dict[str, str]], rows: np.ndarray, steps: StepSettings = FEW_STEPS
) -> Fit:
    return fit_head(
        rows,
        labels,
        taxonomy=TREE,
        settings=settings(name, steps),
        pool_moments=(torch.zeros(FEATURES), torch.ones(FEATURES)),
        rng=np.random.default_rng(0),
    )


def settings(name: str, steps: StepSettings = FEW_STEPS) -> HeadSettings:
    return HeadSettings(name="shared_trunk", folds=2, balancer=name, steps=steps)


def test_weights_are_above_zero_and_multiply_the_losses(name: str) -> None:
    balancer = new(name)
    found = losses(kind=0.7, colour=0.2, length=3.0)
    balancer(found).backward()
    weights = balancer.weights()
    assert list(weights) == list(TASKS)
    for task, loss in found.items():
        assert weights[task] > 0
        assert loss.grad is not None and float(loss.grad) == pytest.approx(weights[task])


def test_an_absent_task_adds_exactly_nothing(name: str) -> None:
    balancer = new(name)
    both, alone = losses(kind=0.7, colour=0.2), losses(colour=0.2)
    one = losses(kind=0.7)
    parts = balancer(one).item() + balancer(alone).item()
    assert balancer(both).item() == pytest.approx(parts, abs=1e-6)
    assert balancer({}).item() == 0
    balancer(one).backward()
    gradients = [parameter.grad is not None for parameter in balancer.parameters()]
    assert sum(gradients) <= 1  # of the task that is there, if of any


def test_its_parameters_are_its_tasks(name: str) -> None:
    """No parameter is shared by two tasks, so that an absent one cannot be moved."""
    assert len(list(new(name).parameters())) in (0, len(TASKS))


def test_a_head_learns_with_it(name: str) -> None:
    rows, labels = toy(15, seed=0)
    found = fit(name, labels, rows, STEPS)
    unseen, truth = toy(50, seed=1)
    for task, (correct, n) in count_correct(found.head, unseen, truth).items():
        assert n == 200
        assert correct / n >= 0.95, task
    lengths = found.head.numbers(torch.from_numpy(unseen))["length"].detach().numpy()
    wanted = np.array([float(label["length"]) for label in truth])
    assert np.abs(lengths - wanted).mean() < 0.3 * wanted.std()
    assert set(found.weights) == {"family", "kind", "colour", "length"}


def test_the_same_seed_gives_the_same_head(name: str) -> None:
    rows, labels = toy(5, seed=0)
    first, second = (fit(name, labels, rows) for _ in range(2))
    for key, value in first.head.state_dict().items():
        assert torch.equal(value, second.head.state_dict()[key]), key
    assert first.weights == second.weights


def test_layers_of_absent_tasks_stay_to_the_bit(name: str) -> None:
    rows, labels = toy(5, seed=0)
    partial = [{LABEL: label[LABEL].partition("/")[0]} for label in labels]  # the family alone
    head = fit(name, partial, rows).head
    fresh = new_head(FEATURES, TREE, settings(name), (head.mean, head.std))
    for key, parameter in head.named_parameters():
        absent = key.startswith(("tasks.kind.", "tasks.colour.", "tasks.length."))
        assert torch.equal(parameter, fresh.get_parameter(key)) == absent, key
