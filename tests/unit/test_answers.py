"""Label Studio's JSON, read as it comes: choices and numbers, and what is neither."""

from typing import Any

import pytest

from atlas.oracle._answers import AnswerReader
from atlas.oracle._regions import region, value_of
from atlas.taxonomy import Taxonomy

TREE = Taxonomy(("kind",), ("cat", "dog"), {"colour": ("red", "blue")}, ("length",))


def answer(*regions: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": 7,
        "result": list(regions),
        "completed_by": 2,
        "was_cancelled": False,
        "lead_time": 1.5,
        "updated_at": "2026-01-01T12:00:00Z",
    }


def number(value: Any, origin: str = "manual") -> dict[str, Any]:
    """As the page sends it."""
    return {
        "id": "x",
        "from_name": "length",
        "to_name": "image",
        "type": "number",
        "origin": origin,
        "value": {"number": value},
    }


def read(*regions: dict[str, Any]) -> tuple[dict[str, str], str, int]:
    reader = AnswerReader(TREE)
    found = reader.read(answer(*regions), "q0")
    assert found is not None
    return dict(found.values), found.prefill, reader.unusable


CAT = {**region("label", "cat", TREE), "origin": "prediction"}


@pytest.mark.parametrize(("given", "text"), [(71.4, "71.4"), (71, "71"), (0, "0"), (-2.5, "-2.5")])
def test_a_number_becomes_text(given: float, text: str) -> None:
    assert read(CAT, number(given, "prediction")) == (
        {"label": "cat", "length": text},
        "accepted",
        0,
    )
    assert read(CAT, number(given, "prediction-changed"))[1] == "changed"


def test_a_number_left_empty_is_no_label() -> None:
    assert read(CAT) == ({"label": "cat"}, "accepted", 0)


@pytest.mark.parametrize("given", [None, True, "long", [1], {}, float("nan"), float("inf")])
def test_what_is_no_number_is_left_out_and_counted(given: object) -> None:
    assert read(CAT, number(given)) == ({"label": "cat"}, "accepted", 1)


def test_a_choice_at_the_control_of_a_number_is_left_out() -> None:
    mixed = {**number(1), "value": {"choices": ["long"]}}
    assert read(CAT, mixed) == ({"label": "cat"}, "accepted", 1)
    other = {**CAT, "value": {"number": 3}}
    assert read(number(3), other) == ({"length": "3"}, "none", 2)  # and no node among the values


@pytest.mark.parametrize(
    ("task", "value"), [("label", "cat"), ("colour", "red"), ("length", "71.4"), ("length", "1e3")]
)
def test_a_guess_comes_back_as_it_was(task: str, value: str) -> None:
    back = value_of(region(task, value, TREE), TREE)
    assert float(back) == float(value) if task == "length" else back == value


@pytest.mark.parametrize(
    "odd",
    [
        {"updated_at": "2026-01-02T00:00:00"},  # of which zone?
        {"updated_at": "0001-01-01T00:00:00+23:59"},  # before the first year in UTC
        {"updated_at": 5},
        {"id": "\ud800"},
        {"id": [1]},
        {"id": 10**80},
        {"completed_by": "\0"},
        {"completed_by": {"id": {}}},
        {"lead_time": 10**400},
        {"lead_time": float("nan")},
        {"result": 5},
    ],
)
def test_what_no_row_could_hold_is_left_out_and_counted(odd: dict[str, Any]) -> None:
    reader = AnswerReader(TREE)
    assert reader.read({**answer(CAT), **odd}, "q0") is None
    assert reader.unusable == 1


def test_an_odd_origin_is_none_of_ours() -> None:
    assert read({**CAT, "origin": 5}) == ({"label": "cat"}, "none", 0)
