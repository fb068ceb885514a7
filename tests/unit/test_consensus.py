"""Several answers, one value; the arithmetic is by hand."""

import math

import pytest

from atlas.consensus import LEAST, most_common, weights

ANN, BOB, CAT = "ann", "bob", "cat"


def test_heads_are_counted() -> None:
    assert most_common([(ANN, "x"), (BOB, "y"), (CAT, "x")], {}) == ("x", 2)
    assert most_common([(ANN, "x"), (BOB, "y")], {}) == ("y", 1)  # the latest of a tie


def test_heads_may_weigh_differently() -> None:
    trust = {ANN: 2.0, BOB: 0.9, CAT: 0.9}
    assert most_common([(ANN, "x"), (BOB, "y"), (CAT, "y")], trust) == ("x", 1)  # 2 > 1.8
    trust = {ANN: 1.8, BOB: 0.9, CAT: 0.9}
    assert most_common([(BOB, "y"), (CAT, "y"), (ANN, "x")], trust) == ("x", 1)  # even: the latest


def test_who_agrees_with_the_majority_weighs_more() -> None:
    images = [
        [(ANN, "x"), (BOB, "x"), (CAT, "y")],  # x: Ann and Bob are right
        [(ANN, "y"), (BOB, "x"), (CAT, "y")],  # y: Ann and Cat
        [(ANN, "z"), (CAT, "z")],  # z: both
        [(ANN, "x"), (BOB, "y")],  # no majority: says nothing
        [(CAT, "x")],  # alone: neither
    ]
    found = weights(images, classes=3)
    # Ann is right 3 times in 3: r = (3 + 1) / (3 + 2) = 4/5, odds 4, times K − 1 = 2.
    assert found[ANN] == pytest.approx(math.log(8))
    # Bob once in 2: r = 2/4, odds 1. Cat twice in 3: r = 3/5, odds 3/2.
    assert found[BOB] == pytest.approx(math.log(2))
    assert found[CAT] == pytest.approx(math.log(3))


def test_nobody_weighs_nothing() -> None:
    images = [[(ANN, "x"), (BOB, "x"), (CAT, "y")]] * 3
    # Cat never in 3: r = 1/5, odds 1/4, times 2 is 1/2, whose logarithm is below 0.
    assert weights(images, classes=3)[CAT] == LEAST
    # Of two classes someone unknown (r = 1/2) tells nothing either.
    assert weights([[(ANN, "x"), (BOB, "y")]], classes=2) == {ANN: LEAST, BOB: LEAST}
