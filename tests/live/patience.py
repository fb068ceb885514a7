"""Waiting for what takes its time."""

from collections.abc import Callable
import time
from typing import Any

LOOK_EVERY_S = 0.1


def wait_until(condition: Callable[[], Any], timeout_s: float) -> None:
    """Return once the condition holds; fail where it does not in time."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"still not so after {timeout_s} s"
        time.sleep(LOOK_EVERY_S)
