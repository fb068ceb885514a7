"""Batches one after the other; whoever waits for one may look up meanwhile, and go at any time."""

from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from copy import copy
import os
from threading import Thread

from torch.utils.data import DataLoader

from atlas.training.finetune.batches import Batch, Batches

LOOK_S = 0.5
TIMED_OUT = "DataLoader timed out"  # torch has no kind of its own for it


def stream_batches(
    batches: Batches, steps: range, *, workers: int, pin: bool
) -> Generator[Batch | None, None, None]:
    """The batches of these steps in order, made ahead by worker processes.

    Closed, it waits for nobody who is in the middle of a batch: large pictures take a minute.

    Args:
        batches: makes them.
        steps: which.
        workers: processes, no more than cores are taken; 0 makes each batch when it is asked for.
        pin: into page-locked memory, from which a GPU copies faster.

    Yields:
        A batch; or None where there is none after half a second, ask again then.
    """
    workers = min(workers, os.cpu_count() or 1)
    mine = copy(batches)  # may be given up, unlike those of whoever gave them
    # a batch is made whole by one worker, so torch's own batching and sampling stay out of it
    loader = DataLoader(
        mine,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pin,
        timeout=LOOK_S if workers else 0,
    )
    yield from _by_workers(loader) if workers else _by_thread(loader, mine, steps)


def _by_workers(loader: DataLoader[Batch]) -> Generator[Batch | None, None, None]:
    source = iter(loader)
    try:
        while True:
            try:
                batch = next(source)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith(TIMED_OUT):
                    raise
                batch = None
            yield batch
    finally:
        # torch itself would wait five seconds for each of them
        for worker in source._workers:  # type: ignore[attr-defined]
            worker.terminate()


def _by_thread(
    loader: DataLoader[Batch], batches: Batches, steps: range
) -> Generator[Batch | None, None, None]:
    source = iter(loader)
    try:
        for _ in steps:
            made = _in_thread(lambda: next(source))
            while not wait([made], LOOK_S).done:
                yield None
            yield made.result()
    finally:
        batches.given_up = True


def _in_thread(work: Callable[[], Batch]) -> Future[Batch]:
    """What it gives, some time; the end of this process does not wait for it."""
    future: Future[Batch] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised again where the result is asked for
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
