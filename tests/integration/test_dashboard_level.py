"""What the page of a level works out: its table of classes and its slider."""

import numpy as np
import pytest

from atlas.analysis.automation import most_at
from atlas.analysis.classes import Judged
from services.dashboard.level import class_table, slider, tenths


def test_the_table_of_classes_by_hand() -> None:
    probs = np.array([[0.8, 0.2, 0], [0.1, 0.9, 0], [0.3, 0.7, 0]], dtype=np.float32)
    judged = Judged(("x/a", "y/a", "y/b"), ("i", "j", "k"), np.array([0, 0, 1]), probs)
    rows = class_table(judged, 1)
    assert [row["class"] for row in rows] == ["x/a", "y/a", "y/b"]  # 1/2, 1/1, nothing
    assert (rows[0]["found"].accuracy, rows[0]["instead"]) == (0.5, "y / a")
    assert rows[0]["meant"].accuracy == 1.0
    assert rows[1]["meant"].accuracy == 0.5
    assert rows[2]["found"].accuracy is None


def test_the_slider_opens_at_what_the_tile_tells() -> None:
    """Wrong is who is 0.7634 sure; the next is right, and a tenth of a percent holds both."""
    sure = np.array([0.9, 0.8, 0.76349, 0.7634, 0.6], dtype=np.float32)
    right = np.array([True, True, True, False, False])
    judged = Judged(("a", "b"), tuple("ijklm"), np.where(right, 0, 1), np.c_[sure, 1 - sure])
    told = most_at(judged.sure, judged.right, target=0.95, surely=False)
    assert told is not None and told["n"] == 3
    found = slider(judged, told["threshold"])
    assert found["at"] == 763
    assert (found["covered"][763], found["correct"][763], found["n"]) == (3, 3, 5)
    assert (found["covered"][762], found["covered"][764], found["covered"][1000]) == (4, 2, 0)
    assert found["low"][763] == pytest.approx(told["low"], abs=1e-6)
    assert [tenths(one) for one in (0.763, 0.76399, 1.0)] == [763, 763, 1000]
