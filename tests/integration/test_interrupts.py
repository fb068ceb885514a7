"""A signal that asks for the end is heard in the end, whoever throws its exception away."""

import signal

import pytest

from atlas.project import Project
from services.demo import Plan, draw_demo_pool
from services.interrupts import ending_on_signals, raise_if_interrupted
from services.supervisor import Supervisor


def lose(one: signal.Signals) -> None:
    """Send a signal where its exception goes nowhere, as some compiled code does."""
    try:
        signal.raise_signal(one)
    except KeyboardInterrupt:
        return
    pytest.fail("the signal raised nothing")


@pytest.mark.parametrize("one", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_lost_signal_is_raised_again(one: signal.Signals) -> None:
    with ending_on_signals():
        raise_if_interrupted()  # nothing came
        lose(one)
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()
    raise_if_interrupted()  # the next block begins anew


def test_watching_hears_a_lost_signal(project: Project) -> None:
    with ending_on_signals(), Supervisor(project) as supervisor:
        supervisor.watch()
        lose(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            supervisor.watch()


def test_drawing_hears_a_lost_signal(project: Project) -> None:
    drawn = []

    def drawing(done: int, total: int) -> None:
        drawn.append((done, total))
        if done == 2:
            lose(signal.SIGINT)

    with (
        ending_on_signals(),
        Supervisor(project) as supervisor,
        pytest.raises(KeyboardInterrupt),
    ):
        draw_demo_pool(supervisor, Plan(images=60), drawing=drawing)
    assert drawn == [(1, 60), (2, 60)]


def test_the_handlers_from_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ending_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
