"""Ctrl-C, SIGTERM and a closed terminal end everything in order, and none of them is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
import signal
from threading import Event
from types import FrameType

_came = Event()  # of the process, as its signal handlers are


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the block at Ctrl-C, SIGTERM or SIGHUP. Main thread only."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        _came.set()
        raise KeyboardInterrupt

    # SIGINT too: a shell script starts background programs with it ignored.
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, interrupt) for one in wanted}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        _came.clear()


def raise_if_interrupted() -> None:
    """Raise what a library may have thrown away: loops that last call this in every turn.

    A handler's exception comes up wherever the main thread is, and not all code lets it through:
    numpy's `Generator.choice` does not, nor does anything that the garbage collector calls.

    Raises:
        KeyboardInterrupt: a signal came since the block of `ending_on_signals` began.
    """
    if _came.is_set():
        raise KeyboardInterrupt
