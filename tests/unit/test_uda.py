"""UDA's losses against small sums by hand and slow loops."""

from copy import deepcopy
from math import log

from hypothesis import given
from hypothesis import strategies as st
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas import plugins
from atlas.heads import Head
from atlas.losses import MISSING, encode
from atlas.settings import UdaSettings
from atlas.taxonomy import Taxonomy
from atlas.training.finetune.uda import (
    annealed,
    annealing_threshold,
    confident,
    consistency,
    consistency_scores,
)
from atlas.types import LABEL

TREE = Taxonomy(
    ("kind", "species"),
    ("pet/cat", "pet/dog", "rock"),
    {"colour": ("red", "blue")},
    ("length",),
)
FEATURES = 5


def logits(*rows: list[float]) -> Tensor:
    """Probabilities as logits, shifted: only differences count."""
    return torch.tensor(rows).log() + 3


def constant_head(name: str, probabilities: dict[str, list[float]]) -> Head:
    """A head that gives these probabilities for every image."""
    head: Head = plugins.build("atlas.heads", name, {"features": FEATURES, "taxonomy": TREE})
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        for task, known in probabilities.items():
            bias = "leaves.bias" if task == LABEL else f"{head.own}.{task}.bias"
            head.get_parameter(bias).copy_(torch.tensor(known).log())
    return head.requires_grad_(False)


def test_consistency_by_hand() -> None:
    """The target of .9 : .1 sharpened by T = ½ is .81 : .01, so 81/82 and 1/82.

    The second row is not sure enough; it adds nothing, yet counts in the mean.
    """
    settings = UdaSettings(temperature=0.5, threshold=0.8)
    clean, augmented = logits([0.9, 0.1], [0.6, 0.4]), logits([0.5, 0.5], [0.1, 0.9])
    a, b = 81 / 82, 1 / 82
    wanted = (a * log(a / 0.5) + b * log(b / 0.5)) / 2
    assert float(consistency(clean, augmented, settings)) == pytest.approx(wanted, rel=1e-5)
    assert confident(clean, settings).tolist() == [True, False]


def test_the_mask_reads_probabilities_before_they_are_sharpened() -> None:
    """.7 sharpened by T = ¼ would be .97, above the threshold."""
    settings = UdaSettings(temperature=0.25, threshold=0.8)
    assert confident(logits([0.7, 0.3]), settings).tolist() == [False]
    assert float(consistency(logits([0.7, 0.3]), logits([0.5, 0.5]), settings)) == 0


def test_gradients_reach_the_augmented_side_alone() -> None:
    """There they are mask · (softmax − target) / N, the gradients of a soft cross-entropy."""
    generator = torch.Generator().manual_seed(0)
    clean = (torch.randn(6, 4, generator=generator) * 3).requires_grad_()
    augmented = torch.randn(6, 4, generator=generator).requires_grad_()
    settings = UdaSettings(temperature=0.4, threshold=0.8)
    consistency(clean, augmented, settings).backward()  # type: ignore[no-untyped-call]
    mask = (F.softmax(clean, 1).amax(1) > 0.8).float().detach()
    assert 0 < mask.sum() < 6
    target = F.softmax(clean / 0.4, 1).detach()
    wanted = mask[:, None] * (F.softmax(augmented, 1) - target).detach() / 6
    assert clean.grad is None
    assert augmented.grad is not None
    torch.testing.assert_close(augmented.grad, wanted, atol=1e-6, rtol=1e-5)
    again = augmented.detach().clone().requires_grad_()
    (F.cross_entropy(again, target, reduction="none") * mask).mean().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(augmented.grad, again.grad, atol=1e-6, rtol=1e-5)


@given(st.lists(st.floats(-8, 8), min_size=6, max_size=6), st.floats(0.1, 1.0))
def test_consistency_is_never_negative_and_zero_for_the_target(
    values: list[float], temperature: float
) -> None:
    clean = torch.tensor(values).view(2, 3)
    settings = UdaSettings(temperature=temperature, threshold=0.0)
    assert float(consistency(clean, torch.zeros(2, 3), settings)) >= -1e-6
    assert float(consistency(clean, clean / temperature, settings)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("schedule", "first", "last"), [("linear", 0.1, 1), ("exp", 0.1061, 1), ("log", 0.1, 0.9939)]
)
def test_annealing_thresholds_of_ten_classes(schedule: str, first: float, last: float) -> None:
    assert annealing_threshold(schedule, 0.0, 10) == pytest.approx(first, abs=5e-5)  # type: ignore[arg-type]
    assert annealing_threshold(schedule, 1.0, 10) == pytest.approx(last, abs=5e-5)  # type: ignore[arg-type]
    assert annealing_threshold("off", 0.0, 10) == 1


def test_annealing_of_one_softmax_counts_the_classes_where_the_label_stops() -> None:
    """Linear at the start: 1/3 for a species, 1/2 for a kind, 1/2 for a colour.

    cat .5 goes, dog .3 stays, rock .2 stays, a pet .8 goes; red .9 goes, blue .1 stays.
    """
    head = constant_head("tree", {LABEL: [0.5, 0.3, 0.2], "colour": [0.9, 0.1]})
    labels = [
        {LABEL: "pet/cat", "colour": "red"},
        {LABEL: "pet/dog", "colour": "blue", "length": "3"},
        {LABEL: "rock"},
        {LABEL: "pet"},
        {"colour": "red"},
    ]
    targets = encode(labels, TREE)
    left = annealed(head, torch.zeros(5, FEATURES), targets, "linear", 0.0)
    assert left.under.any(dim=1).tolist() == [False, True, True, False, False]
    assert left.under[1:3].tolist() == targets.under[1:3].tolist()
    assert left.classes["colour"].tolist() == [MISSING, 1, MISSING, MISSING, MISSING]
    assert left.numbers["length"][1] == 3
    assert annealed(head, torch.zeros(5, FEATURES), targets, "off", 0.0) is targets


def test_annealing_of_heads_a_level() -> None:
    """kind: 1/2, species: 1/3 again; a pet .6 goes, a cat .3 stays, a dog .6 goes, a rock stays."""
    head = constant_head(
        "shared_trunk", {"kind": [0.6, 0.4], "species": [0.3, 0.6, 0.1], "colour": [0.5, 0.5]}
    )
    targets = encode([{LABEL: "pet/cat"}, {LABEL: "pet/dog"}, {LABEL: "rock"}], TREE)
    left = annealed(head, torch.zeros(3, FEATURES), targets, "linear", 0.0)
    assert left.classes["kind"].tolist() == [MISSING, MISSING, 1]
    assert left.classes["species"].tolist() == [0, MISSING, 2]


def test_the_loss_after_annealing_divides_by_the_labels_left() -> None:
    """Σ mask · CE / max(Σ mask, 1), as slowly as it can be written."""
    head = constant_head("tree", {})
    generator = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(head.get_parameter("leaves.weight"), generator=generator)
    x = torch.randn(40, FEATURES, generator=generator)
    leaves = [TREE.leaves[int(i)] for i in torch.randint(3, (40,), generator=generator)]
    targets = encode([{LABEL: leaf} for leaf in leaves], TREE)
    left = annealed(head, x, targets, "linear", 0.5)
    losses = []
    for row, leaf in enumerate(leaves):
        p = float(F.softmax(head.leaf_scores(x[row : row + 1]), 1)[0, TREE.leaves.index(leaf)])
        if p <= 0.5 * (1 - 1 / 3) + 1 / 3:
            losses.append(-log(p))
    assert 0 < len(losses) < 40
    found = head.losses(x, left)[LABEL]
    assert float(found) == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_annealing_may_leave_no_label() -> None:
    head = constant_head("tree", {LABEL: [0.9, 0.05, 0.05]})
    left = annealed(
        head, torch.zeros(2, FEATURES), encode([{LABEL: "pet/cat"}] * 2, TREE), "exp", 0
    )
    assert head.losses(torch.zeros(2, FEATURES), left) == {}


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("tree", {LABEL: 3, "colour": 2}), ("shared_trunk", {"kind": 2, "species": 3, "colour": 2})],
)
def test_consistency_is_over_every_softmax_that_is_trained(
    name: str, tasks: dict[str, int]
) -> None:
    """A quantity has none; a task that no label speaks of is not trained."""
    head, x = constant_head(name, {}), torch.zeros(4, FEATURES)
    whole = encode([{LABEL: "rock", "colour": "red", "length": "3"}], TREE)
    scores = consistency_scores(head, x, head.present(whole))
    assert {task: tuple(z.shape) for task, z in scores.items()} == {
        task: (4, classes) for task, classes in tasks.items()
    }
    for labels, missing in (
        ({LABEL: "rock"}, {"colour"}),
        ({"colour": "red"}, {*tasks} - {"colour"}),
    ):
        present = head.present(encode([labels], TREE))
        assert set(consistency_scores(head, x, present)) == set(tasks) - missing
    half_way = head.present(encode([{LABEL: "pet"}], TREE))
    assert set(consistency_scores(head, x, half_way)) == {LABEL, "kind"} & set(tasks)


@pytest.mark.parametrize("name", plugins.available("atlas.heads"))
def test_tasks_that_are_not_asked_for_are_left_alone(name: str) -> None:
    """Those that are have the same scores, to the bit; of the others not a statistic moves."""
    head: Head = plugins.build("atlas.heads", name, {"features": FEATURES, "taxonomy": TREE})
    twin = deepcopy(head)
    x = torch.randn(6, FEATURES, generator=torch.Generator().manual_seed(0))
    every = twin.train().scores(x)
    wanted = [task for task in every if task != "colour"]
    found = head.train().scores(x, wanted)
    assert list(found) == wanted
    assert all(torch.equal(found[task], every[task]) for task in wanted)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    consistency_scores(head, x, ("colour",))
    for key, value in head.state_dict().items():
        assert torch.equal(value, before[key]) or key.startswith(f"{head.own}.colour."), key
