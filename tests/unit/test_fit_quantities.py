"""Quantities in a fit: their units, their out-of-fold error, and tasks nobody labelled."""

import numpy as np
import pytest
import torch

from atlas import plugins
from atlas.losses import encode
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import Fit, fit_head
from atlas.training.optimise import new_head
from atlas.types import LABEL

TREE = Taxonomy(("kind",), ("a", "b"), {"colour": ("red", "blue")}, ("length", "price"))
FEATURES = 3


def fit(labels: list[dict[str, str]], rows: np.ndarray | None = None, **settings: object) -> Fit:
    if rows is None:
        rows = np.random.default_rng(0).normal(size=(len(labels), FEATURES))
    return fit_head(
        rows,
        labels,
        taxonomy=TREE,
        settings=HeadSettings.model_validate(settings),
        pool_moments=(torch.zeros(FEATURES), torch.ones(FEATURES)),
        rng=np.random.default_rng(0),
    )


def test_units_by_hand() -> None:
    """Lengths 10, 12 and 17: mean 13, variance (9 + 1 + 16) / 3. Nobody gave a price."""
    labels = [{"length": "10"}, {LABEL: "a", "length": "12"}, {LABEL: "b"}, {"length": "17"}]
    head = fit(labels).head
    assert head.number_mean.tolist() == [13, 0]
    assert head.number_std.tolist() == pytest.approx([(26 / 3) ** 0.5, 1])


@pytest.mark.parametrize("lengths", [["4"], ["4", "4", "4"], ["0", "0"], ["0.1", "0.1", "0.1"]])
def test_a_constant_quantity_has_spread_one_and_is_said_as_it_is(lengths: list[str]) -> None:
    found = fit([{"length": length} for length in lengths])
    assert found.head.number_std.tolist() == [1, 1]
    said = found.head.numbers(torch.randn(5, FEATURES))["length"]
    torch.testing.assert_close(said, torch.full((5,), float(lengths[0])))


def test_a_far_unit_does_not_matter() -> None:
    """Grams or tonnes: the same answers but for the factor of a million."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, FEATURES))
    weights = 5 + rows[:, 0] + rng.normal(0, 0.1, 30)
    small = fit([{"length": f"{one:.6f}"} for one in weights], rows)
    large = fit([{"length": f"{1e6 * one:.0f}"} for one in weights], rows)
    x = torch.randn(9, FEATURES)
    torch.testing.assert_close(
        small.head.numbers(x)["length"] * 1e6, large.head.numbers(x)["length"], rtol=1e-3, atol=1e3
    )
    ratio = (large.out_of_fold["length"]["mean_absolute_error"]) / 1e6
    assert small.out_of_fold["length"]["mean_absolute_error"] == pytest.approx(ratio, rel=1e-2)


def test_the_out_of_fold_error_against_its_twin() -> None:
    """Each image is measured by the one head that never saw it; half of them have a length."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, FEATURES)).astype(np.float32)
    labels: list[dict[str, str]] = [{LABEL: "ab"[i % 2]} for i in range(30)]
    for i in range(0, 30, 2):
        labels[i]["length"] = f"{100 + 20 * rows[i, 1]:.2f}"
    found = fit(labels, rows, folds=5)
    errors = []
    for i in range(0, 30, 2):
        head = found.folds.heads[found.folds.of_row[i]]
        said = float(head.numbers(torch.from_numpy(rows[i : i + 1]))["length"].detach())
        errors.append(abs(said - float(labels[i]["length"])))
    measured = found.out_of_fold["length"]
    assert measured["n"] == 15
    assert measured["mean_absolute_error"] == pytest.approx(sum(errors) / 15, rel=1e-5)
    assert "price" not in found.out_of_fold
    assert set(found.out_of_fold["kind"]) == {"accuracy", "n"}


def test_each_fold_has_the_units_of_its_own_labels() -> None:
    lengths = np.arange(10.0)
    found = fit([{"length": f"{one}"} for one in lengths], folds=5)
    for number, head in enumerate(found.folds.heads):
        seen = lengths[found.folds.of_row != number]
        assert float(head.number_mean[0]) == pytest.approx(seen.mean())
        assert float(head.number_std[0]) == pytest.approx(seen.std())


@pytest.mark.parametrize("method", ["one", "two"])
@pytest.mark.parametrize("name", plugins.available("atlas.heads"))
def test_layers_of_tasks_without_labels_stay_to_the_bit(name: str, method: str) -> None:
    """Nobody labelled colour or price; the fit must leave their layers as they were made."""
    labels = [{LABEL: "ab"[i % 2], "length": str(i % 5)} for i in range(12)]
    settings = {"name": name, "method": method, "folds": 2, "steps": {"count": 15}}
    head = fit(labels, **settings).head
    fresh = new_head(FEATURES, TREE, HeadSettings.model_validate(settings), (head.mean, head.std))
    moved = []
    for key, parameter in head.named_parameters():
        if not torch.equal(parameter, fresh.get_parameter(key)):
            moved.append(key)
    alone = tuple(f"{head.own}.{task}." for task in ("colour", "price"))
    assert moved and not [key for key in moved if key.startswith(alone)]


def test_weights_of_the_balancer_are_told() -> None:
    """At the end of a fit the weight of a task is 1/(2L) for its loss L, by uncertainty."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, FEATURES)).astype(np.float32)
    labels = [
        {LABEL: "ab"[int(rows[i, 0] + rng.normal() > 0)], "length": f"{rng.normal():.3f}"}
        for i in range(40)
    ]
    found = fit(labels, rows, balancer="uncertainty")
    losses = found.head.losses(torch.from_numpy(rows), encode(labels, TREE))
    for task in (LABEL, "length"):
        assert found.weights[task] == pytest.approx(1 / (2 * losses[task].item()), rel=0.05)
    assert found.weights["colour"] == 1.0
    assert fit(labels, rows).weights == dict.fromkeys((LABEL, "colour", "length", "price"), 1.0)
