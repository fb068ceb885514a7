"""Keeps a call that is made at every step from being carried out at every step."""

from collections.abc import Callable
from functools import wraps
import time
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def paced(call: Callable[P, R], seconds: float) -> Callable[P, R]:
    """`call`, carried out at most every `seconds`; in between, what it gave last is given again."""
    last_s = -float("inf")
    given: list[R] = []

    @wraps(call)
    def slowed(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= seconds:
            given[:] = [call(*args, **kwargs)]
            last_s = now_s
        return given[0]

    return slowed
