"""Heads on cached views: the losses of a step, and UDA where clusters are and labels are few."""

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.heads import Head
from atlas.heads.nddr import Nddr
from atlas.heads.shared_trunk import SharedTrunk
from atlas.heads.tree import Tree
from atlas.losses import Targets, encode
from atlas.settings import HeadSettings, StepSettings, UdaSettings
from atlas.taxonomy import Taxonomy
from atlas.training.optimise import new_balancer, optimise
from atlas.training.steps import run_steps
from atlas.training.uda_heads import ViewBatches, ViewRows
from atlas.types import LABEL

TREE = Taxonomy(("kind", "species"), ("pet/cat", "pet/dog", "rock"), {})
COLOURED = Taxonomy(("kind",), ("a", "b"), {"colour": ("red", "blue")}, ("length",))
SIGNAL, NOISE = 3, 12
STEPS = StepSettings(count=150, batch_size=64, lr=0.05)


def pictures(n: int, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
    """A cluster a leaf in the first features; in the others what augmentation will change."""
    leaf = rng.integers(3, size=n)
    signal = 2.5 * np.eye(3)[leaf] + rng.normal(0, 0.5, (n, SIGNAL))
    rows = np.concatenate([signal, rng.normal(0, 2, (n, NOISE))], axis=1)
    return torch.from_numpy(rows).float(), [TREE.leaves[i] for i in leaf]


def views_of(rows: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """The same pictures with other noise: (M, N, D)."""
    views = rows.repeat(count, 1, 1)
    views[:, :, SIGNAL:] = torch.from_numpy(rng.normal(0, 2, (count, len(rows), NOISE))).float()
    return views.half()


def toy(labels: int, uda: UdaSettings, *, seed: int = 0) -> tuple[Tensor, Targets, ViewRows]:
    rng = np.random.default_rng(seed)
    x, nodes = pictures(labels, rng)
    clean, _ = pictures(400, rng)
    views = ViewRows(views_of(x, 4, rng), clean.half(), views_of(clean, 4, rng), uda, STEPS)
    return x, encode([{LABEL: node} for node in nodes], TREE), views


def right(head: Head, seed: int = 99) -> float:
    x, nodes = pictures(1000, np.random.default_rng(seed))
    with torch.inference_mode():
        found = head(x)["species"].argmax(dim=1)
    return float(np.mean([TREE.leaves[i] == node for i, node in zip(found, nodes, strict=True)]))


def train(head: Head, toy: tuple[Tensor, Targets, ViewRows], *, uda: bool) -> ViewBatches:
    x, targets, views = toy
    batches = ViewBatches(head, x, targets, views, np.random.default_rng(1))
    balancer = new_balancer(head, HeadSettings())
    extra = batches.consistency_at if uda else None
    run_steps(head, balancer, batches.losses_at, views.steps, extra=extra)
    return batches


def test_uda_gains_where_clusters_are_and_labels_are_few() -> None:
    """9 labels in 15 features of which 12 are noise; mean over five draws of the labels."""
    found: dict[str, list[float]] = {"clean": [], "views": [], "uda": []}
    settings = UdaSettings(threshold=0.5, temperature=0.5, weight=3)
    for seed in range(5):
        data = toy(9, settings, seed=seed)
        clean, views, uda = (Tree(SIGNAL + NOISE, TREE, l2=0.02) for _ in range(3))
        optimise(clean, data[0], data[1], HeadSettings(), np.random.default_rng(0))
        train(views, data, uda=False)
        train(uda, data, uda=True)
        for name, head in (("clean", clean), ("views", views), ("uda", uda)):
            found[name].append(right(head))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    assert means["views"] > means["clean"] + 0.05, means
    assert means["uda"] > means["views"] + 0.02, means


def test_training_on_it_makes_predictions_more_consistent() -> None:
    data = toy(30, UdaSettings(threshold=0.0, temperature=1.0, weight=1))
    without, with_it = (Tree(SIGNAL + NOISE, TREE, l2=0.02) for _ in range(2))
    train(without, data, uda=False)
    train(with_it, data, uda=True)
    before = ViewBatches(without, *data, np.random.default_rng(2)).consistency_at(0).item()
    after = ViewBatches(with_it, *data, np.random.default_rng(2)).consistency_at(0).item()
    assert after < before


def test_consistency_by_hand() -> None:
    """One image, one view, one feature; weights (1, 0, 0), T = 1, no threshold, λ = 2.

    Clean at log 2: e² … the leaves have odds 2 : 1 : 1, so ½, ¼, ¼. The view at 0 has ⅓ each.
    KL = ½ log(½ · 3) + 2 · ¼ log(¼ · 3) = ½ log 1.5 + ½ log 0.75 = ½ log 1.125.
    """
    head = Tree(1, TREE)
    with torch.no_grad():
        head.leaves.weight.copy_(torch.tensor([[1.0], [0.0], [0.0]]))
    clean = torch.tensor([[np.log(2)]])
    settings = UdaSettings(weight=2, temperature=1, threshold=0)
    views = ViewRows(torch.zeros(1, 1, 1), clean, torch.zeros(1, 1, 1), settings, STEPS)
    targets = encode([{LABEL: "rock"}], TREE)
    batches = ViewBatches(head, torch.zeros(1, 1), targets, views, np.random.default_rng(0))
    loss = batches.consistency_at(0)
    torch.testing.assert_close(loss, torch.tensor(np.log(1.125)).float(), atol=1e-6, rtol=1e-5)
    loss.backward()
    # softmax − target, times the view, which is 0; the bias has no such factor: 2 (⅓ − ½, …)
    assert not head.leaves.weight.grad.any()
    wanted = 2 * torch.tensor([1 / 3 - 1 / 2, 1 / 3 - 1 / 4, 1 / 3 - 1 / 4])
    torch.testing.assert_close(head.leaves.bias.grad, wanted, atol=1e-6, rtol=1e-5)


def test_every_softmax_is_consistent_and_quantities_are_left_out() -> None:
    """The sum over the level and the attribute; a quantity has no probabilities."""
    head = SharedTrunk(2, COLOURED)
    settings = UdaSettings(weight=1, temperature=1, threshold=0)
    rng = torch.Generator().manual_seed(0)
    clean, view = torch.randn(5, 2, generator=rng), torch.randn(1, 5, 2, generator=rng)
    views = ViewRows(torch.zeros(1, 1, 2), clean, view, settings, STEPS)
    targets = encode([{LABEL: "a", "colour": "red"}], COLOURED)
    batches = ViewBatches(head, torch.zeros(1, 2), targets, views, np.random.default_rng(0))
    wanted = 0.0
    with torch.no_grad():
        one, other = head.scores(clean), head.scores(view[0])
        for task in ("kind", "colour"):
            p, q = one[task].softmax(dim=1), other[task].softmax(dim=1)
            wanted += sum(float(a * (a / b).log()) for a, b in zip(p.ravel(), q.ravel())) / 5  # noqa: B905
    assert batches.consistency_at(0).item() == pytest.approx(wanted, rel=1e-5)


def test_a_task_without_any_label_teaches_the_trunk_nothing() -> None:
    """Whatever its layer says of the views, the rest ends with the same bits, and it as it was."""
    rng = np.random.default_rng(0)
    x, view = torch.from_numpy(rng.normal(size=(2, 20, 2))).float()
    settings = UdaSettings(weight=1, temperature=0.5, threshold=0)
    views = ViewRows(view[None], x, view[None], settings, StepSettings(count=10, batch_size=8))
    targets = encode([{LABEL: "ab"[i % 2]} for i in range(20)], COLOURED)
    heads = SharedTrunk(2, COLOURED), SharedTrunk(2, COLOURED)
    own = [head.get_parameter("tasks.colour.weight") for head in heads]
    for number, (head, weight) in enumerate(zip(heads, own, strict=True)):
        torch.nn.init.constant_(weight[0], float(number))
        before = weight.clone()
        train(head, (x, targets, views), uda=True)
        assert torch.equal(weight, before)
    for (name, one), other in zip(heads[0].named_parameters(), heads[1].parameters(), strict=True):
        assert torch.equal(one, other) == (name != "tasks.colour.weight"), name


def test_the_norms_of_a_task_without_any_label_stay_as_they_were() -> None:
    x, view = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0))
    settings = UdaSettings(weight=1, temperature=0.5, threshold=0)
    views = ViewRows(view[None], x, view[None], settings, StepSettings(count=3, batch_size=8))
    targets = encode([{LABEL: "ab"[i % 2]} for i in range(20)], COLOURED)
    head = Nddr(2, COLOURED)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    train(head, (x, targets, views), uda=True)
    moved = {key for key, value in head.state_dict().items() if not torch.equal(value, before[key])}
    assert "tasks.kind.norm.running_mean" in moved
    assert not [key for key in moved if key.startswith(("tasks.colour.", "tasks.length."))]


def test_every_view_of_every_image_is_drawn_with_its_own_label() -> None:
    """Images 0–5 whose views say which image and view they are: both must fit the label."""
    x = torch.arange(6.0)[:, None].repeat(1, 2)
    x[:, 1] = -1
    labelled = torch.stack([x, x])
    labelled[:, :, 1] = torch.tensor([0.0, 1.0])[:, None]
    targets = encode([{LABEL: TREE.leaves[i % 3]} for i in range(6)], TREE)
    seen: set[tuple[int, int]] = set()

    class Spy(Tree):
        def losses(self, x: Tensor, targets: Targets) -> dict[str, Tensor]:
            for (image, view), leaf in zip(x.tolist(), targets.classes["species"], strict=True):
                assert int(image) % 3 == int(leaf)
                seen.add((int(image), int(view)))
            return super().losses(x, targets)

    steps = StepSettings(batch_size=4)
    views = ViewRows(labelled, x, labelled, UdaSettings(), steps)
    batches = ViewBatches(Spy(2, TREE), x, targets, views, np.random.default_rng(0))
    for step in range(60):
        batches.losses_at(step)
    assert seen == {(image, view) for image in range(6) for view in (-1, 0, 1)}


def test_a_part_of_the_labelled_images() -> None:
    x, _, views = toy(9, UdaSettings())
    rows = torch.tensor([True, False, True] * 3)
    assert torch.equal(views.of(rows).labelled, views.labelled[:, rows])
    assert views.of(rows).clean is views.clean
    assert len(x) == 9


def test_the_same_seed_gives_the_same_head() -> None:
    heads = [SharedTrunk(SIGNAL + NOISE, TREE) for _ in range(2)]
    for head in heads:
        train(head, toy(9, UdaSettings()), uda=True)
    for one, other in zip(*(head.parameters() for head in heads), strict=True):
        assert torch.equal(one, other)
