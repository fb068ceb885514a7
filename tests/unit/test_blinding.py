"""Which queries are blind, and that nothing about them tells them from audit images."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from atlas.blinding import BLIND_REASON, draw_blind
from atlas.choosing import _mix, query_row
from atlas.queue_state import Place
from atlas.rescoring import mixed
from atlas.store.tables import QueryRow
from atlas.types import Batch

TRIES = 1200
IDS = st.lists(st.text("0123456789abcdef", min_size=1), unique=True, max_size=40)


def a_round(ids: list[str], audit: int, *, seed: int = 0, number: int = 1) -> list[QueryRow]:
    """The rows of a round whose sampler chose `ids` in this order, as `choose` makes them."""
    rows = [QueryRow(**query_row(number, "query", one)) for one in ids]
    blind = draw_blind(ids, audit=audit, seed=seed, round_number=number)
    for row in rows:
        row.blind = row.image_id in blind
    measured = [QueryRow(**query_row(number, "audit", f"audit {i}")) for i in range(audit)]
    return _mix(rows, measured, np.random.default_rng([seed, number]))


@settings(max_examples=100, deadline=None)
@given(IDS, st.integers(0, 50), st.integers(0, 2**31), st.integers(1, 10**5))
def test_as_many_queries_are_blind_as_there_are_audit_images_at_most_half(
    ids: list[str], audit: int, seed: int, number: int
) -> None:
    rows = a_round(ids, audit, seed=seed, number=number)
    assert all(row.blind for row in rows if row.kind == "audit")
    half = -(-len(ids) // 2)
    assert sum(row.blind for row in rows) == audit + min(audit, half)


@settings(max_examples=100, deadline=None)
@given(IDS, st.integers(0, 50), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_the_same_seed_and_round_draw_the_same_in_whatever_order(
    ids: list[str], audit: int, seed: int, lot: object
) -> None:
    first = draw_blind(ids, audit=audit, seed=seed, round_number=3)
    shuffled = list(ids)
    lot.shuffle(shuffled)  # type: ignore[attr-defined]
    assert draw_blind(shuffled, audit=audit, seed=seed, round_number=3) == first <= set(ids)


def test_another_seed_or_round_draws_others() -> None:
    """3 of 20: two draws agree once in 1140."""
    ids = [f"img_{i}" for i in range(20)]
    drawn = [draw_blind(ids, audit=3, seed=s, round_number=n) for s, n in ((0, 1), (0, 2), (1, 1))]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_each_query_is_as_likely_wherever_the_sampler_put_it() -> None:
    """2 of 6, 1200 times: each place 400 ± 16.3; five deviations are 82."""
    ids = ["f", "a", "d", "c", "b", "e"]
    drawn = np.zeros(6)
    for seed in range(TRIES):
        blind = draw_blind(ids, audit=2, seed=seed, round_number=1)
        drawn += [one in blind for one in ids]
    assert drawn.sum() == 2 * TRIES
    assert (abs(drawn - 400) < 82).all(), drawn


@pytest.mark.parametrize("queries", [3, 8])
def test_by_its_place_among_the_blind_nobody_can_tell_an_audit_image(queries: int) -> None:
    """Two of the four blind images are audit images: each of the four in half of the rounds.

    600 of 1200 ± 17.3; five deviations are 87. The same holds at every place of the whole order:
    of those that are blind there, half are audit images.
    """
    ids = [f"img_{i}" for i in range(queries)]
    among, at = np.zeros(4), np.zeros((2, queries + 2))
    for seed in range(TRIES):
        rows = a_round(ids, 2, seed=seed)
        blind = [row for row in rows if row.blind]
        among += [row.kind == "audit" for row in blind]
        for row in blind:
            at[int(row.kind == "audit"), row.priority] += 1
    assert (abs(among - 600) < 87).all(), among
    counted = at.sum(axis=0)
    assert (abs(at[1] - counted / 2) < 5 * np.sqrt(counted) / 2).all(), at


def test_what_is_blind_keeps_its_place_and_has_no_guess_in_a_new_order() -> None:
    """Whoever compares two orders sees neither an audit image nor a blind query move."""
    rows = a_round([f"img_{i}" for i in range(9)], 3)
    for row in rows:
        row.task_id = row.uid
    told = [row for row in rows if not row.blind]
    turned = told[::-1]
    scores = tuple(float(i) for i in range(len(turned)))
    batch = Batch(tuple(row.image_id for row in turned), scores, ("",) * len(turned))
    guess = {row.image_id: ({"label": "x"}, {"label": 0.5}) for row in turned}
    places = mixed(rows, turned, batch, guess)
    assert [place.priority for place in places] == list(range(12))
    by_uid = {place.uid: place for place in places}
    blind = [row for row in rows if row.blind]
    assert len(blind) == 6
    for row in blind:
        assert by_uid[row.uid] == Place(row.uid, row.uid, row.priority, {}, {})
    assert [place.uid for place in places if place.guess] == [row.uid for row in turned]


def test_the_sentence_says_nothing_of_measuring() -> None:
    assert BLIND_REASON == "to be answered without a guess, so that nothing sways you"
