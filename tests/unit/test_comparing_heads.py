"""Comparing heads: intervals and the winner by hand, single tasks, and one fold gone through."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t as student
import torch

from atlas import plugins
from atlas.comparing_heads import Plan, choose, compare_heads, interval
from atlas.errors import PluginError, SettingsError, TrainingError
from atlas.losses import encode
from atlas.settings import HeadSettings, StepSettings
from atlas.taxonomy import Taxonomy
from atlas.train import TrainingData
from atlas.training.fit_heads import moments
from atlas.training.folds import draw_folds
from atlas.training.optimise import new_head, optimise
from atlas.training.trials import Examples, try_alone, try_out
from atlas.types import LABEL

TREE = Taxonomy(
    ("family", "kind"),
    ("round/ball", "round/ring", "box/box", "box/cross"),
    {"colour": ("red", "blue")},
    ("length",),
)
FLAT = Taxonomy(("kind",), ("a", "b", "c"), {})
FEATURES = 6
QUICK = HeadSettings(steps=StepSettings(count=10))


def toy(rows: int = 24, seed: int = 0) -> TrainingData:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float16)
    labels = [
        {
            LABEL: TREE.leaves[2 * int(one[0] > 0) + int(one[1] > 0)],
            "colour": "red" if one[2] > 0 else "blue",
            "length": f"{20 + 3 * one[3]:.3f}",
        }
        for one in x
    ]
    return TrainingData(x, labels, rng.normal(size=(40, FEATURES)).astype(np.float16))


def examples(labels: Sequence[dict[str, str]], taxonomy: Taxonomy = TREE) -> Examples:
    x = np.random.default_rng(0).normal(size=(len(labels), FEATURES)).astype(np.float32)
    return Examples(torch.from_numpy(x), encode(labels, taxonomy), taxonomy, moments(x))


def row(head: str, balancer: str, parameters: int = 10, seconds: float = 1.0) -> dict[str, object]:
    return {"head": head, "balancer": balancer, "parameters": parameters, "seconds": seconds}


def test_the_interval_by_hand() -> None:
    """.5 and .7 of 2 folds: variance .02, times 1/2 + 1/1 is .03; t of 1 degree is 12.7."""
    found = interval([0.5, 0.7], folds=2)
    half = 0.03**0.5 * student.ppf(0.975, 1)
    assert found == pytest.approx({"mean": 0.6, "low": 0.6 - half, "high": 0.6 + half})
    assert interval([0.5], folds=2) == {"mean": 0.5, "low": None, "high": None}
    assert interval([], folds=2) == {"mean": None, "low": None, "high": None}


def test_more_repeats_narrow_the_interval_only_so_far() -> None:
    """Of 5 folds the variance of the mean never falls below s²/4, however many repeats."""
    values = [0.4, 0.6] * 500
    found = interval(values, folds=5)
    half = (np.var(values, ddof=1) * (1 / 1000 + 1 / 4)) ** 0.5 * student.ppf(0.975, 999)
    assert found["high"] == pytest.approx(0.5 + half)
    assert half > 0.09


def test_the_default_wins_a_tie() -> None:
    """Behind by −.1, .2, 0, .1: mean .05; variance .0167 · (1/4 + 1/3), its root .099."""
    means = {
        ("tree", "uniform"): [0.6, 0.5, 0.6, 0.5],
        ("nddr", "uniform"): [0.5, 0.7, 0.6, 0.6],
    }
    rows = [row("nddr", "uniform", parameters=1), row("tree", "uniform", parameters=99)]
    chosen, reason = choose(means, rows, folds=4)
    assert chosen == ("tree", "uniform")
    assert reason.startswith("simpler than nddr with uniform and as good: 5.0 points behind")


def test_a_clear_winner_wins() -> None:
    means = {("tree", "uniform"): [0.5, 0.51, 0.5], ("nddr", "uniform"): [0.6, 0.61, 0.6]}
    rows = [row("tree", "uniform"), row("nddr", "uniform")]
    assert choose(means, rows, folds=3) == (("nddr", "uniform"), "best mean over tasks")


def test_without_the_default_the_smallest_wins_then_uniform_then_the_fastest() -> None:
    same = [0.5, 0.6, 0.7]
    rows = [
        row("nddr", "uniform", parameters=20, seconds=0.1),
        row("cascade", "uncertainty", seconds=0.1),
        row("cascade", "uniform", seconds=3.0),
        row("shared_trunk", "uniform", seconds=2.0),
    ]
    means = {(str(one["head"]), str(one["balancer"])): same for one in rows}
    assert choose(means, rows, folds=3)[0] == ("shared_trunk", "uniform")


def test_a_level_alone_is_a_flat_list() -> None:
    """The second label stops at the family, the third has no node at all."""
    given = examples([{LABEL: "box/box"}, {LABEL: "round"}, {"colour": "red"}])
    family, kind = given.alone("family"), given.alone("kind")
    assert family.taxonomy == Taxonomy(("family",), ("0", "1"), {})
    assert TREE.classes["family"] == ("round", "box")
    assert family.targets.classes["family"].tolist() == [1, 0, -1]
    assert family.targets.under.tolist() == [[False, True], [True, False], [False, False]]
    assert kind.targets.classes["kind"].tolist() == [2, -1, -1]
    assert kind.targets.under.sum(dim=1).tolist() == [1, 0, 0]
    assert given.alone("colour").targets.classes["colour"].tolist() == [-1, -1, 0]
    assert given.labels() == {"family": 2, "kind": 1, "colour": 1}


def test_a_quantity_alone_has_no_other_label() -> None:
    alone = examples([{LABEL: "box", "length": "3"}, {LABEL: "round"}]).alone("length")
    assert alone.labels() == {"length": 1}
    assert alone.taxonomy.quantities == ("length",)
    assert not alone.targets.under.any()


@pytest.mark.parametrize("name", plugins.available("atlas.heads"))
def test_every_head_can_be_alone_with_any_task(name: str) -> None:
    data = toy(16)
    given = examples(data.labels)
    halves = given[torch.arange(8)], given[torch.arange(8, 16)]
    for task in TREE.outputs:
        found = try_alone(*halves, task, HeadSettings(name=name))
        assert list(found.scores) == [task]


def test_scores_of_a_trial_against_the_head_itself() -> None:
    data = toy()
    given = examples(data.labels)
    train, test = given[torch.arange(14)], given[torch.arange(14, 24)]
    settings = HeadSettings(name="shared_trunk")
    found = try_out(train, test, settings, np.random.default_rng(0))
    head = new_head(FEATURES, TREE, settings, given.moments)
    x = head.standardise(train.bottlenecks)
    optimise(head, x, train.targets, settings, np.random.default_rng(0))
    with torch.inference_mode():
        said, lengths = head(test.bottlenecks), head.numbers(test.bottlenecks)["length"]
    for task in TREE.tasks:
        right = [
            int(said[task][i].argmax()) == int(test.targets.classes[task][i]) for i in range(10)
        ]
        assert found.scores[task] == pytest.approx(sum(right) / 10), task
    truth = test.targets.numbers["length"]
    error = sum(abs(float(lengths[i] - truth[i])) for i in range(10)) / 10
    middle = sorted(train.targets.numbers["length"].tolist())[6]  # the lower of the middle two
    median_error = sum(abs(middle - float(truth[i])) for i in range(10)) / 10
    assert found.errors["length"] == pytest.approx(error, rel=1e-4)
    assert found.scores["length"] == pytest.approx(1 - error / median_error, rel=1e-4)


def compare(data: TrainingData, taxonomy: Taxonomy = TREE, **plan: object) -> dict:
    chosen = {"heads": ("tree",), "balancers": ("uniform",), "folds": 3, "repeats": 1, **plan}
    return compare_heads(data, taxonomy, QUICK, Plan(**chosen), seed=4)


def test_a_comparison_is_its_trials() -> None:
    """Three folds, each fitted and measured by hand; transfer is paired with the single task."""
    data = toy()
    found = compare(data, heads=("shared_trunk",), repeats=2)
    rows = torch.from_numpy(data.rows[:].astype(np.float32))
    given = Examples(rows, encode(data.labels, TREE), TREE, moments(data.pool[:]))
    settings = HeadSettings(name="shared_trunk")
    scores, gains = [], []
    for repeat in range(2):
        fold = draw_folds(24, 3, np.random.default_rng([4, repeat]))
        for number in range(3):
            out = torch.from_numpy(fold == number)
            halves = given[~out], given[out]
            ours = try_out(*halves, settings, np.random.default_rng(0)).scores["kind"]
            scores.append(ours)
            gains.append(ours - try_alone(*halves, "kind", settings).scores["kind"])
    measured = found["combinations"][0]["tasks"]["kind"]
    assert measured["score"] == pytest.approx(interval(scores, 3))
    assert measured["transfer"] == pytest.approx(interval(gains, 3))
    assert found["tasks"] == {"family": 24, "kind": 24, "colour": 24, "length": 24}
    assert found["winner"]["head"] == "shared_trunk"


def test_a_single_task_has_no_transfer() -> None:
    data = toy()
    labels = [{LABEL: "abc"[i % 3]} for i in range(24)]
    found = compare(TrainingData(data.rows, labels, data.pool), FLAT)
    assert found["combinations"][0]["tasks"]["kind"]["transfer"]["mean"] == 0


def test_what_cannot_be_is_listed() -> None:
    found = compare(toy(12), balancers=("uniform", "gradnorm", "fixed"), heads=("tree", "cascade"))
    able = [(one["head"], one["balancer"]) for one in found["combinations"]]
    assert able == [("tree", "uniform"), ("cascade", "uniform"), ("cascade", "gradnorm")]
    reasons = {(one["head"], one["balancer"]): one["reason"] for one in found["impossible"]}
    assert set(reasons) == {("tree", "gradnorm"), ("tree", "fixed"), ("cascade", "fixed")}
    assert "the head tree has none" in reasons["tree", "gradnorm"]
    assert "no weights" in reasons["tree", "fixed"]
    with pytest.raises(SettingsError, match="nothing to compare: .*the head tree has none"):
        compare(toy(12), balancers=("gradnorm",))


def test_weights_and_arguments_of_the_settings_are_used() -> None:
    """The weights name the tree's tasks, which a cascade has not; l2 is the tree's alone."""
    settings = HeadSettings(
        args={"l2": 5.0}, balancer="fixed", balancer_args={"by_task": {"label": 3.0}}
    )
    plan = Plan(("tree", "cascade"), ("uniform", "fixed"), folds=2, repeats=1)
    found = compare_heads(toy(8), TREE, settings, plan, seed=0)
    able = [(one["head"], one["balancer"]) for one in found["combinations"]]
    assert able == [("tree", "uniform"), ("tree", "fixed"), ("cascade", "uniform")]
    assert "no task label" in found["impossible"][0]["reason"]


def test_the_same_seed_gives_the_same_figures() -> None:
    first, second = (compare(toy(12), heads=("shared_trunk",)) for _ in range(2))
    for one in (first, second):
        one["combinations"][0].pop("seconds")
    assert first == second


def test_progress_ends_at_all_fits() -> None:
    """3 folds × (2 combinations + 2 heads × 4 tasks)."""
    seen: list[tuple[int, int]] = []
    plan = Plan(("tree", "cascade"), ("uniform",), folds=3, repeats=1)
    settings = HeadSettings()
    compare_heads(toy(12), TREE, settings, plan, seed=0, progress=lambda a, b: seen.append((a, b)))
    assert seen == [(i, 30) for i in range(1, 31)]


def test_too_few_labels() -> None:
    with pytest.raises(TrainingError, match="5 labels for 3 folds; needed are 6, 2 a fold"):
        compare(toy(5))


def test_an_unknown_head() -> None:
    with pytest.raises(PluginError, match="unknown head 'forest'"):
        compare(toy(12), heads=("forest",))


def test_tasks_with_few_labels_are_measured_where_they_can_be() -> None:
    """One colour among 12: it is either not in training or not in the test."""
    data = toy(12)
    labels = [{LABEL: label[LABEL]} for label in data.labels]
    labels[3]["colour"] = "red"
    found = compare(TrainingData(data.rows, labels, data.pool))
    tasks = found["combinations"][0]["tasks"]
    assert found["tasks"] == {"family": 12, "kind": 12, "colour": 1}
    assert tasks["colour"]["score"] == {"mean": None, "low": None, "high": None}
    assert tasks["kind"]["score"]["mean"] is not None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([{"length": "5"}] * 12, "length: 12"),  # the median is as exact as any head
        ([{"colour": "red"}] + [{"length": "5"}] * 11, "colour: 1, length: 11"),
    ],
)
def test_labels_that_measure_no_head_are_said(labels: list[dict[str, str]], said: str) -> None:
    data = toy(12)
    with pytest.raises(TrainingError, match=rf"can be measured on these labels \({said}\): a task"):
        compare(TrainingData(data.rows, labels, data.pool))
