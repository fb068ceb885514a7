"""Calls that are carried out only now and then."""

from services.pace import paced


def test_between_two_calls_the_last_answer_is_given_again() -> None:
    answers = iter(range(10))
    ask = paced(lambda: next(answers), 3600)
    assert [ask(), ask(), ask()] == [0, 0, 0]


def test_after_the_pause_it_is_carried_out_again() -> None:
    answers = iter(range(10))
    ask = paced(lambda: next(answers), 0)
    assert [ask(), ask(), ask()] == [0, 1, 2]


def test_arguments_go_through() -> None:
    told: list[tuple[int, int]] = []
    paced(lambda done, total: told.append((done, total)), 3600)(2, total=5)
    assert told == [(2, 5)]
