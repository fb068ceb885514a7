"""Promotion: worse at no task, better at one beyond chance."""

import numpy as np
import pytest

from atlas.gate import compare, judge, mcnemar


def right(*counts: tuple[int, bool]) -> np.ndarray:
    """`right((3, True), (2, False))`: three times right, then twice wrong."""
    return np.concatenate([np.full(n, value) for n, value in counts])


def test_the_exact_test_by_hand() -> None:
    """Eight images decide, seven for the candidate: P(7 or 8 of 8 coins) = (8 + 1) / 256."""
    present = right((10, True), (1, True), (7, False), (2, False))
    candidate = right((10, True), (1, False), (7, True), (2, False))
    found = compare(present, candidate)
    assert (found.n, found.gained, found.lost) == (20, 7, 1)
    assert (found.present, found.candidate) == (11 / 20, 17 / 20)
    assert found.p == pytest.approx(9 / 256)


def test_the_exact_test_either_way_by_hand() -> None:
    """Nine images decide, eight for one side: 2 (1 + 9) / 2⁹ for either, (1 + 9) / 2⁹ for that."""
    assert mcnemar(8, 1, either_way=True) == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(8, 1, either_way=True) == mcnemar(1, 8, either_way=True)
    assert mcnemar(8, 1) == pytest.approx((1 + 9) / 2**9)
    assert mcnemar(0, 0) == mcnemar(0, 0, either_way=True) == 1


def test_better_at_one_and_worse_at_none_is_promoted() -> None:
    same = right((20, True))
    verdict = judge(
        {"kind": same, "species": right((10, True), (10, False))},
        {"kind": same, "species": right((20, True))},
        p_below=0.05,
    )
    assert verdict.promoted
    assert verdict.reason == "better at species 50.0% → 100.0%, worse at none"


def test_worse_at_one_is_refused_however_good_the_other_is() -> None:
    verdict = judge(
        {"kind": right((20, True)), "species": right((20, False))},
        {"kind": right((19, True), (1, False)), "species": right((20, True))},
        p_below=0.05,
    )
    assert not verdict.promoted
    assert verdict.reason == "worse at kind 100.0% → 95.0%"


def test_a_gain_that_chance_gives_is_refused() -> None:
    """Three of three decide for the candidate: p = 1/8."""
    verdict = judge(
        {"kind": right((17, True), (3, False))}, {"kind": right((20, True))}, p_below=0.05
    )
    assert not verdict.promoted
    assert "p = 0.12" in verdict.reason
    assert verdict.as_dict()["tasks"]["kind"]["gained"] == 3


def test_the_same_answers_are_refused() -> None:
    answers = right((3, True), (3, False))
    verdict = judge({"kind": answers}, {"kind": answers}, p_below=0.05)
    assert not verdict.promoted
    assert verdict.tasks["kind"].p == 1


def test_as_many_won_as_lost_is_no_gain_however_much_chance_is_allowed() -> None:
    """One each: p = 3/4."""
    verdict = judge(
        {"kind": right((9, True), (1, False))},
        {"kind": right((1, False), (9, True))},
        p_below=0.9,
    )
    assert not verdict.promoted
