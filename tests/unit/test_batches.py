"""From candidates to a batch: near-duplicates, chains of samplers, cold start, levels."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from atlas import plugins
from atlas.batches import Ask, choose_batch
from atlas.errors import PluginError, PoolExhausted, SamplerError
from atlas.samplers._composition import PACKAGE, build_sampler
from atlas.samplers._levels import agreement, focus_level, level_weights
from atlas.settings import RoundSettings
from atlas.types import Candidates
from tests.samplers_support import candidates

NAMES = plugins.available(PACKAGE)


def with_copies(n: int, copies: int, *, features: int = 8) -> tuple[Candidates, np.ndarray]:
    """Candidates of which each is there `copies` times, a hair apart; and whose copy each is."""
    given = candidates(n, features=features)
    family = np.arange(n) % (n // copies)
    noise = np.random.default_rng(1).normal(size=(n, features)) * 1e-3
    rows = (given.bottlenecks[family] + noise).astype(np.float32)
    return Candidates(**{**vars(given), "bottlenecks": rows}), family


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", NAMES)
def test_no_batch_holds_two_of_a_kind(name: str) -> None:
    """40 images that are 10 things, 4 pictures of each: a batch of 8 shows 8 things."""
    given, family = with_copies(40, 4)
    found = choose_batch(given, (), RoundSettings(sampler=name), Ask(8), rng=rng())
    shown = [int(family[int(one[-4:])]) for one in found.batch.ids]
    assert len(set(shown)) == len(shown) == 8
    assert len(found.batch.scores) == len(found.batch.reasons) == 8


@pytest.mark.parametrize("name", NAMES)
def test_no_batch_holds_a_copy_of_what_is_taken(name: str) -> None:
    """Pictures of the things 0 to 4 are labelled or in the audit set: 5 to 9 are asked about."""
    given, family = with_copies(40, 4)
    avoid = (given.bottlenecks[:3], given.bottlenecks[3:5])
    found = choose_batch(given, avoid, RoundSettings(sampler=name), Ask(5), rng=rng())
    assert {int(family[int(one[-4:])]) for one in found.batch.ids} == {5, 6, 7, 8, 9}


def test_when_only_copies_are_left() -> None:
    given, _ = with_copies(40, 4)
    with pytest.raises(PoolExhausted, match="asked for 11 images, the pool has 10 left"):
        choose_batch(given, (), RoundSettings(), Ask(11), rng=rng())
    found = choose_batch(given, (), RoundSettings(batch_size=11), Ask(), rng=rng())
    assert len(found.batch.ids) == 10  # nobody demanded a size
    with pytest.raises(PoolExhausted):
        choose_batch(given, (given.bottlenecks[:10],), RoundSettings(), Ask(), rng=rng())


def test_the_rule_may_be_switched_off() -> None:
    given, _ = with_copies(40, 4)
    settings_ = RoundSettings(near_duplicate=1)
    assert len(choose_batch(given, (), settings_, Ask(40), rng=rng()).batch.ids) == 40


def test_without_copies_the_rule_changes_nothing() -> None:
    given = candidates(50)
    off, on = (
        choose_batch(given, (), RoundSettings(near_duplicate=limit), Ask(9), rng=rng())
        for limit in (1, 0.9999)
    )
    assert off == on


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 20), st.integers(0, 10**6))
def test_any_pool_gives_n_distinct_or_says_both_numbers(
    size: int, n: int, taken: int, seed: int
) -> None:
    given = candidates(size, seed=seed)
    avoid = (candidates(taken, seed=seed + 1).bottlenecks,) if taken else ()
    ask = Ask(n, sampler=NAMES[seed % len(NAMES)])
    if n > size:
        with pytest.raises(PoolExhausted) as caught:
            choose_batch(given, avoid, RoundSettings(), ask, rng=np.random.default_rng(seed))
        assert (caught.value.asked, caught.value.available) == (n, size)
        return
    found = choose_batch(given, avoid, RoundSettings(), ask, rng=np.random.default_rng(seed))
    assert len(set(found.batch.ids)) == n
    assert np.isfinite(found.batch.scores).all()


def test_a_sampler_that_needs_a_model_waits_for_one() -> None:
    given = candidates(30)
    bare = Candidates(given.ids, given.bottlenecks, given.labelled)
    found = choose_batch(bare, (), RoundSettings(sampler="entropy"), Ask(5), rng=rng())
    assert found.sampler == "typiclust"
    assert found.note == "no model yet: typiclust instead of entropy"


def test_a_stand_in_is_in_the_record() -> None:
    """Without out-of-fold predictions there is no ensemble: BALD says who chose instead."""
    given = Candidates(**{**vars(candidates(30)), "member_probs": {}})
    found = choose_batch(given, (), RoundSettings(sampler="bald"), Ask(5), rng=rng())
    assert found.sampler == "bald"
    assert found.note == "too few labels for an ensemble: entropy chose"
    assert all("(entropy chose: too few labels" in reason for reason in found.batch.reasons)


def test_a_chain_takes_from_what_came_before() -> None:
    """margin*3 | random of 4: four of the twelve that margin likes best."""
    given = candidates(60)
    shortlist = build_sampler("margin").select(given, n=12, rng=rng()).ids
    found = build_sampler("margin*3 | random").select(given, n=4, rng=rng())
    assert set(found.ids) <= set(shortlist)
    assert all(r.startswith("between ") and r.endswith("; drawn at random") for r in found.reasons)
    everything = build_sampler("margin*100 | random").select(given, n=60, rng=rng())
    assert set(everything.ids) == set(given.ids)
    three = build_sampler("random*9 | margin*2 | k_center").select(given, n=3, rng=rng())
    assert len(set(three.ids)) == 3


def test_a_chain_hands_the_level_to_the_stages_that_take_one() -> None:
    chain = build_sampler("entropy*4 | kmeans", {"level": "species"})
    again = build_sampler("entropy*4|kmeans", {"level": "finest"})
    given = candidates(40)
    assert chain.select(given, n=5, rng=rng()) == again.select(given, n=5, rng=rng())
    assert chain.needs_model


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("margin*10", SamplerError, "is not a chain"),
        ("margin | kmeans*2", SamplerError, "is not a chain"),
        ("margin*0 | kmeans", SamplerError, "is not a chain"),
        ("margin*x | kmeans", SamplerError, "cannot read 'margin\\*x'"),
        ("margin | ", SamplerError, "cannot read ''"),
        ("margin*2 | best", PluginError, "unknown sampler 'best'"),
    ],
)
def test_specs_that_make_no_sense(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_sampler(spec)
    with pytest.raises(SamplerError, match="takes level alone, not steps"):
        build_sampler("margin*2 | kmeans", {"steps": 3})


def of_levels(kind: float, species: float) -> Candidates:
    """Ten candidates; so many shares of them get the same class from both heads of an ensemble.

    All have the probabilities 0.7/0.3 at kind and 0.5/0.5/0 at species.
    """
    first, second = np.array([0.6, 0.4, 0.0]), np.array([0.4, 0.6, 0.0])

    def heads(agreed: float, classes: int) -> list[np.ndarray]:
        same = round(10 * agreed)
        one = np.tile(first[:classes], (10, 1))
        return [one, np.concatenate([one[:same], np.tile(second[:classes], (10 - same, 1))])]

    return Candidates(
        list("abcdefghij"),
        np.zeros((10, 1)),
        np.zeros((0, 1)),
        probs={"kind": np.array([[0.7, 0.3]] * 10), "species": np.array([[0.5, 0.5, 0]] * 10)},
        classes={"kind": ("x", "y"), "species": ("x/a", "x/b", "y/c")},
        member_probs={"kind": heads(kind, 2), "species": heads(species, 3)},
    )


@pytest.mark.parametrize(
    ("kind", "species", "wanted"),
    [
        (0.6, 0.5, "kind"),  # the shallowest that is not reliable yet
        (0.7, 0.5, "species"),
        (1.0, 1.0, "species"),  # all are: the finest
    ],
)
def test_the_default_weighting_goes_deeper(kind: float, species: float, wanted: str) -> None:
    given = of_levels(kind, species)
    assert agreement(given, "kind") == pytest.approx(kind)
    assert level_weights(given) == {wanted: 1.0}
    assert focus_level(given) == wanted


def test_without_an_ensemble_no_level_is_reliable() -> None:
    given = Candidates(**{**vars(of_levels(1, 1)), "member_probs": {}})
    assert agreement(given, "kind") == 0
    assert level_weights(given) == {"kind": 1.0}


def test_weights_are_shares() -> None:
    given = of_levels(0.5, 0.5)
    assert level_weights(given, {"kind": 1, "species": 3}) == {"kind": 0.25, "species": 0.75}
    assert focus_level(given, {"kind": 1, "species": 1}) == "species"
    with pytest.raises(SamplerError, match="is -1; give 0 or more"):
        level_weights(given, {"kind": -1})
    with pytest.raises(SamplerError, match="all level weights are 0"):
        level_weights(given, {"kind": 0})


def test_two_levels_weigh_as_told() -> None:
    """Margin at kind: 1 − (0.7 − 0.3) = 0.6, at species 1 − (0.5 − 0.5) = 1; 1 to 3."""
    given = of_levels(0.5, 0.5)
    batch = build_sampler("margin", {"level": {"kind": 1, "species": 3}}).select(
        given, n=2, rng=rng()
    )
    assert batch.scores == pytest.approx((0.25 * 0.6 + 0.75 * 1.0,) * 2)


def test_positions_are_in_the_order_asked() -> None:
    given = candidates(5)
    assert given.positions(["img_0003", "img_0000"]).tolist() == [3, 0]
    assert given.positions([]).tolist() == []
