"""The relationship prior against a Kronecker product written out, and its updates by hand."""

import numpy as np
import pytest
import torch

from atlas.heads.relationship import Relationship
from atlas.losses import encode
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import fit_head
from atlas.types import LABEL

TREE = Taxonomy(
    ("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")}, ("size",)
)
PARTS = ("task_covariance", "class_covariance", "feature_covariance")


def randomised(width: int = 3, seed: int = 0) -> Relationship:
    head = Relationship(5, TREE, l2=0.3, width=width)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, 1, generator=generator)
    return head


def with_covariances(head: Relationship) -> Relationship:
    """Any positive definite ones: B Bᵀ + I."""
    generator = torch.Generator().manual_seed(7)
    for name in PARTS:
        part = getattr(head, name)
        root = torch.randn(part.shape, generator=generator)
        part.copy_(root @ root.T + torch.eye(len(part)))
    return head


def squares(head: Relationship, tasks: tuple[str, ...], *, adapters: bool) -> float:
    """‖·‖² of all weight matrices of the trunk and of these tasks."""
    found = [head.trunk.weight, *(head.tasks[task].out.weight for task in tasks)]
    found += [head.tasks[task].adapter for task in tasks] if adapters else []
    return sum(weight.square().sum().item() for weight in found)


@pytest.mark.parametrize("tasks", [("kind", "species", "colour", "size"), ("species", "size")])
def test_with_identities_it_is_plain_weight_decay(tasks: tuple[str, ...]) -> None:
    head = randomised()
    wanted = 0.3 / 2 * squares(head, tasks, adapters=True)
    assert head.penalty(tasks).item() == pytest.approx(wanted, rel=1e-6)


def test_with_identities_its_gradient_is_that_of_weight_decay() -> None:
    head = randomised()
    head.penalty().backward()
    for own in head.tasks.values():
        torch.testing.assert_close(own.adapter.grad, 0.3 * own.adapter)


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [1, 3], [2]])
def test_the_penalty_is_the_quadratic_form_written_out(chosen: list[int]) -> None:
    """vec(W)ᵀ (Σ_task ⊗ Σ_class ⊗ Σ_feat)⁻¹ vec(W), tasks × 3 × 3 numbers long.

    Of some tasks it is the marginal prior: their rows and columns of Σ_task.
    """
    head = with_covariances(randomised())
    tasks = tuple(list(TREE.outputs)[i] for i in chosen)
    between, classes, features = (getattr(head, name).double() for name in PARTS)
    whole = torch.kron(torch.kron(between[chosen][:, chosen], classes), features)
    vec = torch.cat([head.tasks[task].adapter.flatten() for task in tasks]).double()
    form = (vec @ whole.inverse() @ vec).item()
    wanted = 0.3 / 2 * (form + squares(head, tasks, adapters=False))
    assert head.penalty(tasks).item() == pytest.approx(wanted, rel=1e-3)


def test_the_covariance_of_two_tasks_by_hand() -> None:
    """Adapters of one weight, 3 and 1: W Wᵀ = [[9, 3], [3, 1]] with the trace 10.

    To the trace 2: [[1.8, .6], [.6, .2]]; a tenth of the identity: [[1.72, .54], [.54, .28]]. The
    one number of each other covariance is 1, its trace.
    """
    head = Relationship(5, Taxonomy(("kind",), ("a", "b"), {}, ("size",)), width=1)
    with torch.no_grad():
        head.tasks["kind"].adapter.fill_(3)
        head.tasks["size"].adapter.fill_(1)
    head.update_covariances()
    wanted = torch.tensor([[1.72, 0.54], [0.54, 0.28]])
    torch.testing.assert_close(head.task_covariance, wanted)
    assert (head.class_covariance.item(), head.feature_covariance.item()) == (1.0, 1.0)


def test_an_update_against_loops() -> None:
    """Σ_task first, from identities; then Σ_class with that Σ_task; then Σ_feat with both."""
    head = randomised(width=3, seed=2)
    w = torch.stack([own.adapter for own in head.tasks.values()]).detach().double().numpy()

    def normalised(found: np.ndarray) -> np.ndarray:
        return 0.9 * found * len(found) / np.trace(found) + 0.1 * np.eye(len(found))

    task = normalised(np.array([[(w[s] * w[r]).sum() for r in range(4)] for s in range(4)]))
    inverse = np.linalg.inv(task)
    found = np.zeros((3, 3))
    for s in range(4):
        for r in range(4):
            found += inverse[s, r] * w[s] @ w[r].T
    classes = normalised(found)
    found = np.zeros((3, 3))
    for s in range(4):
        for r in range(4):
            found += inverse[s, r] * w[s].T @ np.linalg.inv(classes) @ w[r]
    head.update_covariances()
    for name, wanted in zip(PARTS, (task, classes, normalised(found)), strict=True):
        np.testing.assert_allclose(getattr(head, name).numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
def test_covariances_stay_positive_definite_with_their_size_as_trace(scale: float) -> None:
    head = randomised(width=6)
    with torch.no_grad():
        for own in head.tasks.values():
            own.adapter.copy_(torch.outer(torch.ones(6), torch.arange(6.0)) * scale)  # of rank 1
    for _ in range(5):
        head.update_covariances()
    for name in PARTS:
        part = getattr(head, name)
        assert float(part.trace()) == pytest.approx(len(part), rel=1e-4)
        assert float(torch.linalg.eigvalsh(part).min()) > 0.09
    assert bool(torch.isfinite(head.penalty()))


def test_a_fit_updates_the_covariances_of_the_tasks_with_labels() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5)).astype(np.float32)
    found = fit_head(
        x,
        [{LABEL: TREE.leaves[i % 3]} for i in range(12)],
        taxonomy=TREE,
        settings=HeadSettings(name="relationship", folds=100, args={"width": 4}),
        pool_moments=(torch.zeros(5), torch.ones(5)),
        rng=rng,
    ).head
    between = found.task_covariance
    assert not torch.equal(found.feature_covariance, torch.eye(4))
    assert between[0, 1].abs() > 0.01
    assert torch.equal(between[2:], torch.eye(4)[2:])  # colour and size: no labels


def test_no_task_at_all() -> None:
    head = randomised()
    head.update_covariances(())
    assert torch.equal(head.task_covariance, torch.eye(4))
    wanted = 0.3 / 2 * squares(head, (), adapters=False)
    assert head.penalty(()).item() == pytest.approx(wanted)
    assert head.losses(torch.ones(1, 5), encode([{}], TREE)) == {}
