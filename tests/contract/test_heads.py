"""What every head promises; a new file in `atlas/heads` is tested by being there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import plugins
from atlas.errors import ModelError
from atlas.evaluation import count_correct, predict
from atlas.heads import Head
from atlas.losses import Targets, encode
from atlas.registry import load_bundle, save_bundle
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import Fit, fit_head, moments
from atlas.types import LABEL

TREE = Taxonomy(
    ("kind", "family", "species"),
    ("animal/pet/cat", "animal/pet/dog", "animal/fly", "rock"),
    {"colour": ("light", "dark", "red")},
    ("size",),
)
FEATURES = 12
NO_FOLDS = 1000  # more folds than labels: one optimisation, no out-of-fold predictions
Rows = tuple[np.ndarray, list[dict[str, str]]]

pytestmark = pytest.mark.parametrize("name", plugins.available("atlas.heads"))


def toy(per_leaf: int, seed: int) -> Rows:
    """Well separated blobs, one a leaf and one a colour, in shifted and stretched dimensions.

    The size is linear in the dimensions before they are stretched: about 47 ± 3.
    """
    fixed = np.random.default_rng(99)
    centres = fixed.normal(0, 3, (len(TREE.leaves) + 3, FEATURES))
    slope = fixed.normal(0, 10 / (18 * FEATURES) ** 0.5, FEATURES)
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for number in range(per_leaf * len(TREE.leaves)):
        leaf, colour = number % len(TREE.leaves), int(rng.integers(3))
        noise = rng.normal(0, 0.5, FEATURES)
        rows.append(centres[leaf] + centres[len(TREE.leaves) + colour] + noise)
        values = {LABEL: TREE.leaves[leaf], "colour": TREE.attributes["colour"][colour]}
        labels.append({**values, "size": f"{40 + rows[-1] @ slope:.2f}"})
    stretch = np.geomspace(0.01, 100, FEATURES)
    return (np.array(rows) * stretch + 7 * stretch).astype(np.float16), labels


def summed(head: Head, x: torch.Tensor, targets: Targets) -> torch.Tensor:
    return torch.stack(list(head.losses(x, targets).values())).sum()


def fit(name: str, data: Rows, *, folds: int = NO_FOLDS, seed: int = 0, **arguments: object) -> Fit:
    return fit_head(
        data[0],
        data[1],
        taxonomy=TREE,
        settings=HeadSettings(name=name, args=arguments, folds=folds),
        pool_moments=moments(data[0]),
        rng=np.random.default_rng(seed),
    )


def new(name: str) -> Head:
    head: Head = plugins.build("atlas.heads", name, {"features": FEATURES, "taxonomy": TREE})
    return head


def randomised(name: str) -> Head:
    """A head with large random weights, as no training would leave it."""
    head = new(name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, 2, generator=generator)
    return head


def as_input(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rows.astype(np.float32))


def test_it_learns_what_can_be_separated_and_what_is_linear(name: str) -> None:
    head = fit(name, toy(30, seed=0)).head
    rows, labels = toy(50, seed=1)
    counts = count_correct(head, rows, labels)
    for task in TREE.tasks:
        correct, n = counts[task]
        assert n == 200
        assert correct / n >= 0.95, task
    size = torch.tensor([float(values["size"]) for values in labels])
    with torch.inference_mode():
        missed = head.numbers(as_input(rows))["size"] - size
    assert float(missed.square().mean() / size.var()) < 0.2


def test_predictions_are_coherent(name: str) -> None:
    """Each class is the sum of its children, and each level sums to 1."""
    rows = torch.randn(40, FEATURES, generator=torch.Generator().manual_seed(0)) * 5
    found = {task: p.exp().double() for task, p in randomised(name)(rows).items()}
    assert set(found) == set(TREE.tasks)
    for task, probs in found.items():
        assert probs.shape == (40, len(TREE.tasks[task]))
        torch.testing.assert_close(probs.sum(1), torch.ones(40).double(), atol=1e-5, rtol=0)
    species = dict(zip(TREE.classes["species"], found["species"].T, strict=True))
    family = dict(zip(TREE.classes["family"], found["family"].T, strict=True))
    kind = dict(zip(TREE.classes["kind"], found["kind"].T, strict=True))
    pets = species["animal/pet/cat"] + species["animal/pet/dog"]
    torch.testing.assert_close(family["animal/pet"], pets, atol=1e-5, rtol=0)
    animals = family["animal/pet"] + family["animal/fly"]
    torch.testing.assert_close(kind["animal"], animals, atol=1e-5, rtol=0)
    torch.testing.assert_close(kind["rock"], species["rock"], atol=1e-5, rtol=0)


def test_labels_may_stop_half_way_or_be_missing(name: str) -> None:
    """Of three rows in four only the family is known; the leaves below are learned all the same."""
    rows, labels = toy(40, seed=0)
    partial = [
        labels[i] if i % 16 < 4 else {LABEL: labels[i][LABEL].rpartition("/")[0] or "rock"}
        for i in range(len(labels))
    ]
    partial[0] = {"colour": "red"}
    head = fit(name, (rows, partial)).head
    counts = count_correct(head, *toy(50, seed=1))
    assert counts["kind"][0] >= 190
    assert counts["species"][0] >= 150


@pytest.mark.parametrize("absent", [LABEL, "colour", "size"])
def test_a_task_without_labels_adds_exactly_nothing(name: str, absent: str) -> None:
    """What it has to itself, that is what no other task's loss reaches, gets no gradient at all.

    Of the levels: what none of them, nor all in one, shares with the tasks beside.
    """
    head = randomised(name)
    rows, labels = toy(3, seed=0)
    x = head.standardise(as_input(rows))
    losses = head.losses(x, encode(labels, TREE))
    mine = {LABEL, *TREE.levels} if absent == LABEL else {absent}
    others = torch.stack([loss for task, loss in losses.items() if task not in mine])
    others.sum().backward(retain_graph=True)
    alone = {n for n, p in head.named_parameters() if p.grad is None}
    torch.stack([losses[task] for task in mine & set(losses)]).sum().backward()
    alone -= {n for n, p in head.named_parameters() if p.grad is None}  # branches not in use
    assert alone
    head.zero_grad()
    rest = encode([{k: v for k, v in values.items() if k != absent} for values in labels], TREE)
    (summed(head, x, rest) + head.penalty(head.present(rest))).backward()
    gradients = {n: p.grad for n, p in head.named_parameters() if p.grad is not None}
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients.values())
    assert not alone & set(gradients)


@pytest.mark.parametrize("absent", ["colour", "size", "species"])
def test_a_fit_leaves_the_layers_of_a_task_without_labels_as_they_were(
    name: str, absent: str
) -> None:
    rows, labels = toy(5, seed=0)
    for values in labels:
        if absent == "species":  # "animal" says the kind alone; the rock is a leaf
            values[LABEL] = values[LABEL].split("/")[0]
            if values[LABEL] == "rock":
                del values[LABEL]
        else:
            del values[absent]
    head, before = fit(name, (rows, labels)).head, new(name).state_dict()
    own = [key for key in before if key.startswith(f"{head.own}.{absent}.")]
    assert own or absent not in head.scores(torch.zeros(1, FEATURES))
    for key in own:
        assert torch.equal(head.state_dict()[key], before[key]), key


def test_the_shared_layer_is_one_that_every_task_uses(name: str) -> None:
    rows, labels = toy(5, seed=0)
    head = randomised(name)
    shared = head.shared()
    for task, loss in head.losses(as_input(rows), encode(labels, TREE)).items():
        if shared:
            found = torch.autograd.grad(loss, shared, retain_graph=True)
            assert any(bool(gradient.any()) for gradient in found), task


def test_a_task_without_labels_leaves_the_others_as_they_are(name: str) -> None:
    rows, labels = toy(10, seed=0)
    half = [v if i % 2 else {LABEL: v[LABEL]} for i, v in enumerate(labels)]
    none = [{LABEL: v[LABEL]} for v in labels]
    head = randomised(name)
    x = torch.from_numpy(rows.astype(np.float32))
    with torch.no_grad():
        tree = float(summed(head, x, encode(none, TREE)))
        both = float(summed(head, x, encode(half, TREE)))
        beside = [{k: v[k] for k in ("colour", "size")} for v in labels]
        odd = [v if i % 2 else {} for i, v in enumerate(beside)]
        others = float(summed(head, x, encode(odd, TREE)))
    assert both == pytest.approx(tree + others, rel=1e-5)


def test_attributes_alone_are_enough(name: str) -> None:
    rows, labels = toy(20, seed=0)
    found = fit(name, (rows, [{"colour": v["colour"]} for v in labels]), folds=2)
    assert count_correct(found.head, *toy(50, seed=1))["colour"][0] >= 190
    assert set(found.out_of_fold) == {"colour"}
    assert float(found.head.temperature) == 1.0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_very_few_labels_are_enough_to_go_on(name: str, rows: int) -> None:
    data = toy(1, seed=0)
    found = fit(name, (data[0][:rows], data[1][:rows]))
    assert found.out_of_fold == {}
    probs = predict(found.head, data[0])
    assert all(np.isfinite(p).all() for p in probs.values())


@pytest.mark.parametrize("task", [LABEL, "colour", "size"])
def test_one_label_of_one_task_is_enough_to_go_on(name: str, task: str) -> None:
    rows, labels = toy(1, seed=0)
    head = fit(name, (rows[:1], [{task: labels[0][task]}])).head
    assert all(np.isfinite(p).all() for p in predict(head, rows).values())
    with torch.inference_mode():
        assert bool(torch.isfinite(head.numbers(as_input(rows))["size"]).all())


def test_the_same_seed_gives_the_same_head(name: str) -> None:
    first, second = (fit(name, toy(3, seed=0), seed=4, folds=2) for _ in range(2))
    for key, value in first.head.state_dict().items():
        assert torch.equal(value, second.head.state_dict()[key]), key
    assert first.out_of_fold == second.out_of_fold


def test_the_order_of_the_labels_hardly_matters(name: str) -> None:
    """It changes the rounding alone, which an early stop does not iron out."""
    rows, labels = toy(15, seed=0)
    order = np.random.default_rng(5).permutation(len(rows))
    shuffled = (rows[order], [labels[i] for i in order])
    unseen = toy(10, seed=1)[0]
    first, second = (predict(fit(name, data).head, unseen) for data in ((rows, labels), shuffled))
    for task in TREE.tasks:
        assert np.abs(first[task] - second[task]).mean() < 0.02, task


def test_out_of_fold_accuracy_is_honest(name: str) -> None:
    """On labels drawn by lot a fit may be perfect on what it saw; out of fold it must be chance.

    120 labels, 4 leaves: 25% ± 4%; five deviations are 20%.
    """
    rng = np.random.default_rng(0)
    labels = [{LABEL: TREE.leaves[int(i)]} for i in rng.integers(4, size=120)]
    rows = rng.normal(size=(120, FEATURES)).astype(np.float16)
    found = fit(name, (rows, labels), folds=3).out_of_fold["species"]
    assert found["n"] == 120
    assert found["accuracy"] < 0.45


def test_a_bundle_gives_the_same_predictions(name: str, tmp_path: Path) -> None:
    found = fit(name, toy(10, seed=0), l2=0.05)
    facts = {"head": name, "head_args": {"l2": 0.05}, "fingerprint": "f00"}
    save_bundle(tmp_path / "m0001", found.head, facts)
    bundle = load_bundle(tmp_path / "m0001")
    assert bundle.fingerprint == "f00"
    assert bundle.head.taxonomy == TREE
    assert not bundle.head.training
    rows = toy(5, seed=3)[0]
    for task, probs in predict(found.head, rows).items():
        assert np.array_equal(predict(bundle.head, rows)[task], probs), task
    with torch.inference_mode():
        assert torch.equal(*(h.numbers(as_input(rows))["size"] for h in (found.head, bundle.head)))


def test_a_bundle_of_other_arguments_does_not_load(name: str, tmp_path: Path) -> None:
    head = fit(name, toy(3, seed=0)).head
    facts = {"head": name, "head_args": {"size_of_the_moon": 3}, "fingerprint": "f00"}
    save_bundle(tmp_path / "m0001", head, facts)
    with pytest.raises(ModelError, match="does not take size_of_the_moon"):
        load_bundle(tmp_path / "m0001")


def test_no_rows_and_one_row(name: str) -> None:
    head = randomised(name)
    for n in (0, 1):
        found = predict(head, np.zeros((n, FEATURES), dtype=np.float16))
        assert {task: p.shape for task, p in found.items()} == {
            task: (n, len(known)) for task, known in TREE.tasks.items()
        }


def test_a_task_may_have_any_name(name: str) -> None:
    """Also one that every module has as an attribute."""
    tree = Taxonomy(("type", "float"), ("a/b", "a/c", "d"), {"keys": ("x", "y")}, ("forward",))
    arguments = {"features": 2, "taxonomy": tree}
    head, other = (plugins.build("atlas.heads", name, arguments) for _ in range(2))
    labels = [{LABEL: "a/b", "keys": "x", "forward": "1"}, {LABEL: "d", "keys": "y"}]
    assert bool(torch.isfinite(summed(head, torch.eye(2), encode(labels, tree))))
    other.load_state_dict(head.state_dict())
    assert set(other.eval()(torch.eye(2))) == {"type", "float", "keys"}
