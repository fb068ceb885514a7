"""What every sampler promises; a new file in `atlas/samplers` is tested by being there."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
import inspect

import numpy as np
import pytest

from atlas import plugins
from atlas.errors import NonFiniteScores, PoolExhausted, SamplerError
from atlas.samplers import Sampler
from atlas.types import Batch, Candidates
from tests.samplers_support import candidates

PACKAGE = "atlas.samplers"
NAMES = plugins.available(PACKAGE)
every = pytest.mark.parametrize("name", NAMES)


LATE = {"by_budget": {"labels_per_class": 1}}  # so that its second sampler is tested


def sampler(name: str, **arguments: object) -> Sampler:
    built: Sampler = plugins.build(PACKAGE, name, LATE.get(name, {}) | arguments)
    return built


def select(name: str, given: Candidates, n: int, seed: int = 0) -> Batch:
    return sampler(name).select(given, n=n, rng=np.random.default_rng(seed))


def takes_level(name: str) -> bool:
    return "level" in inspect.signature(plugins.load(PACKAGE, name)).parameters


scoring = pytest.mark.parametrize("name", [n for n in NAMES if sampler(n).needs_model])
leveled = pytest.mark.parametrize("name", [n for n in NAMES if takes_level(n)])


def arrays(given: Candidates) -> Iterator[np.ndarray]:
    yield given.bottlenecks[:]
    yield given.labelled[:]
    yield from given.probs.values()
    yield from given.labelled_classes.values()
    yield from given.labelled_probs.values()
    for members in given.member_probs.values():
        yield from members


@every
@pytest.mark.parametrize(("n", "of"), [(1, 1), (1, 30), (7, 30), (29, 30), (30, 30), (2, 2)])
def test_exactly_n_distinct_candidates(name: str, n: int, of: int) -> None:
    given = candidates(of)
    batch = select(name, given, n)
    assert len(batch.ids) == len(set(batch.ids)) == len(batch.scores) == len(batch.reasons) == n
    assert set(batch.ids) <= set(given.ids)


@every
def test_scores_are_finite_and_best_first(name: str) -> None:
    scores = select(name, candidates(40), 15).scores
    assert np.isfinite(scores).all()
    assert all(isinstance(score, float) for score in scores)
    assert list(scores) == sorted(scores, reverse=True)


@every
def test_every_image_gets_a_reason(name: str) -> None:
    reasons = select(name, candidates(40), 15).reasons
    assert all(isinstance(reason, str) and reason.strip() for reason in reasons)


@every
def test_too_many_names_both_numbers(name: str) -> None:
    with pytest.raises(PoolExhausted, match="asked for 31 images, the pool has 30 left") as caught:
        select(name, candidates(30), 31)
    assert (caught.value.asked, caught.value.available) == (31, 30)


@every
def test_nothing_left(name: str) -> None:
    with pytest.raises(PoolExhausted, match="asked for 1 images, the pool has 0 left"):
        select(name, candidates(0), 1)


@every
@pytest.mark.parametrize("n", [0, -1])
def test_a_batch_of_none_is_a_mistake(name: str, n: int) -> None:
    with pytest.raises(SamplerError, match="ask for 1 or more"):
        select(name, candidates(30), n)


@every
def test_the_same_seed_gives_the_same_batch(name: str) -> None:
    first, second = (select(name, candidates(60), 9, seed=5) for _ in range(2))
    assert first == second


@every
def test_nothing_given_is_changed(name: str) -> None:
    given = candidates(30)
    before = [array.copy() for array in arrays(given)]
    ids = list(given.ids)
    select(name, given, 10)
    for array, copy in zip(arrays(given), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert given.ids == ids


@every
def test_read_only_arrays_will_do(name: str) -> None:
    """Bottlenecks are mapped from disk: who writes to them would crash."""
    given = candidates(30)
    for array in arrays(given):
        array.setflags(write=False)
    assert len(select(name, given, 10).ids) == 10


@every
def test_global_randomness_is_neither_used_nor_moved(name: str) -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = select(name, candidates(60), 9)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(2)
    assert select(name, candidates(60), 9) == first


@every
def test_the_order_of_candidates_is_no_privilege(name: str) -> None:
    """Ten equal images: over 100 seeds each is chosen first 10 times, give or take.

    A deviation is √(100·.1·.9) = 3; five of them are 15.
    """
    one = candidates(1)
    copies = np.zeros(10, dtype=np.intp)
    ids = [f"img_{number}" for number in range(10)]
    given = replace(one.subset(copies), ids=ids)
    first = Counter(select(name, given, 1, seed=seed).ids[0] for seed in range(100))
    assert max(first.values()) < 26, first


@every
def test_a_model_is_asked_for_only_by_those_who_need_one(name: str) -> None:
    given = candidates(30)
    bare = Candidates(given.ids, given.bottlenecks, given.labelled)
    if not sampler(name).needs_model:
        assert len(select(name, bare, 5).ids) == 5


@every
def test_no_labelled_image_yet(name: str) -> None:
    assert len(select(name, candidates(30, labelled=0), 8).ids) == 8


@every
def test_rows_may_be_on_the_disk(name: str) -> None:
    """A view that can only be sliced gives what the arrays give."""
    given = candidates(40)
    everything = np.arange(40)
    assert select(name, given.subset(everything), 9) == select(name, given, 9)


@scoring
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_probabilities_stop(name: str, bad: float) -> None:
    given = candidates(30)
    given.probs["species"][7, 2] = bad
    given.member_probs["species"][1][7, 2] = bad
    with pytest.raises(NonFiniteScores, match=r"1 of 30 .*the first is that of img_0007"):
        sampler(name, level="finest").select(given, n=5, rng=np.random.default_rng(0))


@leveled
def test_levels(name: str) -> None:
    """By name, by weights, "finest", or "auto": the shallowest that is not reliable yet."""

    def chosen(level: object) -> Batch:
        rng = np.random.default_rng(0)
        return sampler(name, level=level).select(candidates(30), n=9, rng=rng)

    assert chosen("species") == chosen("finest") == chosen({"species": 2.0, "kind": 0.0})
    assert chosen("kind") == chosen("auto") == chosen({"kind": 0.5})
    assert chosen("kind").ids != chosen("species").ids
    message = "no level 'colour' to sample by; known: kind, species, finest or auto"
    with pytest.raises(SamplerError, match=message):
        chosen("colour")


@every
def test_a_level_of_one_class(name: str) -> None:
    """A taxonomy may have a single root: nothing can be asked about it, and nothing breaks."""
    given = candidates(30)
    ones = {"all": np.ones((30, 1), dtype=np.float32)}
    one = replace(
        given,
        probs=ones,
        classes={"all": ("thing",)},
        labelled_classes={"all": np.zeros(12, dtype=np.int64)},
        labelled_probs={"all": np.ones((12, 1), dtype=np.float32)},
        member_probs={"all": [ones["all"]] * 3},
    )
    batch = select(name, one, 7)
    assert len(set(batch.ids)) == 7
    assert np.isfinite(batch.scores).all()
