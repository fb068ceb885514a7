"""A lease that somebody holds for a moment is waited for."""

from threading import Event, Thread
import time

import pytest

from atlas.errors import BusyError
from atlas.project import Project
from atlas.store import lease as leases


def test_closing_waits_for_the_order_and_not_for_a_training(project: Project) -> None:
    """Somebody holds the lease for 0.4 s: 5 s of patience are enough, 0.1 s are not."""
    begun = Event()

    def hold() -> None:
        with leases.lease(project.database, leases.PROJECT, leases.new_holder()):
            begun.set()
            time.sleep(0.4)

    def take(patience_s: float) -> None:
        holder = leases.new_holder()
        with leases.lease(project.database, leases.PROJECT, holder, patience_s=patience_s):
            pass

    thread = Thread(target=hold)
    thread.start()
    begun.wait()
    with pytest.raises(BusyError):
        take(0.1)
    take(30.0)
    thread.join()
