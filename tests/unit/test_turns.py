"""cluster_margin and class_balanced, which take turns, by hand and by slow twins."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from atlas.errors import SamplerError
from atlas.samplers.class_balanced import fair_turns
from atlas.samplers.cluster_margin import round_robin
from atlas.types import UNKNOWN, Candidates
from tests.mixed_samplers_support import number, pool, select

# cluster_margin


def slow_round_robin(cluster: list[int], n: int) -> list[int]:
    """Clusters of different sizes: no lot is drawn."""
    members = {k: [i for i, c in enumerate(cluster) if c == k] for k in set(cluster)}
    order = sorted(members, key=lambda k: len(members[k]))
    taken: list[int] = []
    while len(taken) < n:
        for k in order:
            if members[k] and len(taken) < n:
                taken.append(members[k].pop(0))
    return taken


def test_round_robin_by_hand() -> None:
    """Cluster 2 has one item, 0 two, 1 four: 2, 0, 1 | 0, 1 | 1 | 1."""
    cluster = np.array([1, 1, 0, 2, 1, 0, 1])
    rng = np.random.default_rng(0)
    assert round_robin(cluster, n=7, rng=rng).tolist() == [3, 2, 0, 5, 1, 4, 6]
    assert round_robin(cluster, n=2, rng=rng).tolist() == [3, 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5, unique=True), st.randoms(), st.data())
def test_round_robin_is_its_slow_twin(sizes: list[int], lot: object, data: st.DataObject) -> None:
    cluster = [k for k, size in enumerate(sizes) for _ in range(size)]
    lot.shuffle(cluster)  # type: ignore[attr-defined]
    n = data.draw(st.integers(1, len(cluster)))
    found = round_robin(np.array(cluster), n=n, rng=np.random.default_rng(0)).tolist()
    assert found == slow_round_robin(cluster, n)


def test_round_robin_visits_equal_clusters_in_any_order() -> None:
    seen = {
        int(round_robin(np.array([0, 1, 2]), n=1, rng=np.random.default_rng(seed))[0])
        for seed in range(40)
    }
    assert seen == {0, 1, 2}


def grouped(sizes: list[int], margins: list[float]) -> Candidates:
    """Groups far from one another, one a direction; image i has the margin `margins[i]`."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    rows = 5.0 * np.eye(len(sizes))[group]
    return pool([[(1 + m) / 2, (1 - m) / 2] for m in margins], rows)


def test_cluster_margin_takes_the_smallest_margin_of_each_group() -> None:
    """n = 4 makes two clusters. The group of 2 and the group of 5 are both taken from twice."""
    margins = [0.30, 0.40, 0.10, 0.01, 0.02, 0.03, 0.20]
    batch = select("cluster_margin", grouped([2, 5], margins), 4)
    assert batch.ids == ("img_3", "img_4", "img_0", "img_1")
    assert batch.scores == (
        pytest.approx(0.99),
        pytest.approx(0.98),
        pytest.approx(0.70),
        pytest.approx(0.60),
    )
    assert batch.reasons[0] == "between a and b 0.51/0.49, one of 5 alike"
    assert batch.reasons[2] == "between a and b 0.65/0.35, one of 2 alike"


def test_cluster_margin_looks_at_the_shortlist_alone() -> None:
    """2 · 2 = 4 images of the smallest margin; the group of 1 with the margin 0.9 is not one."""
    margins = [0.1, 0.2, 0.3, 0.4, 0.9]
    batch = select("cluster_margin", grouped([4, 1], margins), 2, factor=2)
    assert "img_4" not in batch.ids
    assert "img_4" in select("cluster_margin", grouped([4, 1], margins), 4, factor=2).ids


def test_with_the_factor_1_it_is_margin() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    given_ = pool(probs, np.random.default_rng(1).normal(size=(30, 5)))
    ours, margin = select("cluster_margin", given_, 9, factor=1), select("margin", given_, 9)
    assert (ours.ids, ours.scores) == (margin.ids, margin.scores)


def test_a_shortlist_smaller_than_the_batch_is_a_mistake() -> None:
    with pytest.raises(SamplerError, match="factor of cluster_margin is 0; give 1 or more"):
        select("cluster_margin", pool([[0.5, 0.5]]), 1, factor=0)


# class_balanced


def slow_turns(labels: list[int], left: list[int], n: int) -> list[int]:
    """The labels and picks of the class whose turn it is, turn by turn."""
    counts, left, result = list(labels), list(left), []
    for _ in range(n):
        k = min((k for k in range(len(counts)) if left[k]), key=lambda k: counts[k])
        result.append(counts[k])
        counts[k] += 1
        left[k] -= 1
    return result


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=6), st.data())
def test_turns_are_taken_by_the_fewest(both: list[tuple[int, int]], data: st.DataObject) -> None:
    labels, left = [one for one, _ in both], [one for _, one in both]
    n = data.draw(st.integers(0, sum(left)))
    rng = np.random.default_rng(0)
    whose, before = fair_turns(np.array(labels), np.array(left), n=n, rng=rng)
    assert before.tolist() == slow_turns(labels, left, n)
    counts = Counter(whose.tolist())
    assert all(counts[k] <= left[k] for k in range(len(both)))
    reached = [labels[k] + counts[k] for k in range(len(both))]
    for k, many in enumerate(left):  # who has candidates left was not passed over
        assert counts[k] == many or n == 0 or reached[k] >= before.max()


def one_hot(*classes: int) -> list[list[float]]:
    return [[0.8 if k == one else 0.1 for k in range(3)] for one in classes]


def test_class_balanced_by_hand() -> None:
    """Labels: a 3, b 1, c 2. Predicted: a 5, b 1, c 2. Turns: b at 1; c at 2; then a and c at 3."""
    given_ = pool(one_hot(0, 0, 0, 0, 0, 1, 2, 2), truth=[0, 0, 0, 1, 2, 2, UNKNOWN])
    batch = select("class_balanced", given_, 5)
    assert batch.ids[0] == "img_5"
    assert batch.ids[1] in ("img_6", "img_7")
    assert batch.scores == (-1.0, -2.0, -3.0, -3.0, -4.0)
    assert set(batch.ids[1:4]) >= {"img_6", "img_7"}
    assert batch.reasons[:2] == (
        "predicted b, which has 1 label so far",
        "predicted c, which has 2 labels so far",
    )


def test_class_balanced_without_labels_takes_as_many_of_each() -> None:
    batch = select("class_balanced", pool(one_hot(*[0] * 20, *[1] * 5, *[2] * 5)), 9)
    groups = Counter(0 if number(one) < 20 else 1 if number(one) < 25 else 2 for one in batch.ids)
    assert groups == {0: 3, 1: 3, 2: 3}
    assert batch.scores == (0.0, 0.0, 0.0, -1.0, -1.0, -1.0, -2.0, -2.0, -2.0)
    assert batch.reasons[0].endswith("which has no label yet")


def test_class_balanced_draws_at_random() -> None:
    """One of ten of a class, 500 times: each 50 times ± 6.7; five deviations are 34."""
    given_ = pool(one_hot(*[0] * 10, 1, 1), truth=[1, 2])
    drawn = Counter(select("class_balanced", given_, 1, seed).ids[0] for seed in range(500))
    assert len(drawn) == 10
    assert all(abs(count - 50) < 34 for count in drawn.values()), drawn
