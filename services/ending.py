"""A worker that is asked to end does so in seconds, whatever it is in the middle of.

On SIGTERM Celery takes no more messages and waits for the jobs that run, however long they take;
its quicker way (SIGQUIT) waits half a minute for processes that have nothing left to say.
"""

import atexit
import os
import sys
from threading import Thread
import time
from typing import Any

from billiard.process import active_children  # type: ignore[import-untyped]
import structlog

FINISH_S = 5.0  # what running jobs are given
GIVE_BACK_S = 1.5  # and then to write that another worker should go on

log = structlog.get_logger(__name__)


def end_soon(**_: Any) -> None:
    """Let the worker end by itself, or end it."""
    atexit.register(_leave)
    Thread(target=_end, name="ending", daemon=True).start()


def _leave() -> None:
    """End without Python's tidying up: with torch loaded that takes seconds on a busy machine.

    Registered last, it comes before all that others registered; the jobs have said what they did.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end() -> None:
    time.sleep(FINISH_S)
    for child in active_children():
        child.terminate()  # raises SystemExit in its job, which is given back: `tasks.carry_out`
    time.sleep(GIVE_BACK_S)
    log.warning("the worker ends in the middle of a job; another goes on")
    os._exit(0)
