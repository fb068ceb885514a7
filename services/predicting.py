"""Predictions for the web API, made by a process of their own.

Torch takes seconds to load and hundreds of megabytes; in the web API's own process both would slow
every page down. Here it is loaded when first asked for, and one process does one request at a time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any

from atlas.errors import AtlasError, BusyError
from atlas.images import decode
from atlas.project import Project
from atlas.promotion import current_id

TIMEOUT_S = 120.0  # of a request; the first loads torch and the backbone
WAITING = 4  # requests at a time, the one under way included

Picture = tuple[str, bytes]  # what to call it, and its file


class Predicting:
    """The process that predicts, started by the first request.

    Args:
        directory: of the project.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._places = BoundedSemaphore(WAITING)
        self._lock = Lock()
        self._process: BaseProcess | None = None
        self._wire: Connection | None = None

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the few places, for the block that gets pictures and asks about them.

        Raises:
            BusyError: all are taken.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(
                f"{WAITING} requests are being predicted already; try again in a second"
            )
        try:
            yield
        finally:
            self._places.release()

    def ask(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        """{"model", "predictions"}: a record a picture, see `atlas.serving.Predictor`.

        To be asked within `place`; whoever comes second waits for the first.

        Raises:
            ImageError: one cannot be decoded.
            ModelError: the model that answers cannot be loaded.
            BusyError: the process did not answer.
        """
        with self._lock:
            found = self._exchange(list(pictures))
        if isinstance(found, AtlasError):
            raise found
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        """End the process; the next request would start another."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._wire is not None:
            self._wire.close()
        self._process = self._wire = None

    def _exchange(self, pictures: list[Picture]) -> object:
        try:
            wire = self._running()
            wire.send(pictures)
            if wire.poll(TIMEOUT_S):
                return wire.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise BusyError(
                "the process that predicts has ended (out of memory?); try again, and look into "
                "the project's run/api.log"
            ) from error
        self.close()
        raise BusyError(f"no prediction within {TIMEOUT_S:.0f} s; try again with fewer pictures")

    def _running(self) -> Connection:
        if self._process is not None and not self._process.is_alive():
            self.close()
        if self._wire is None:
            context = get_context("spawn")  # a fork would carry this process's threads' locks
            self._wire, theirs = context.Pipe()
            self._process = context.Process(
                target=serve, args=(self._directory, theirs), name="atlas-predict", daemon=True
            )
            self._process.start()
            theirs.close()  # or nobody would notice that the other end is gone
        return self._wire


def serve(directory: Path, wire: Connection) -> None:
    """Answer until the web API is gone; what the process does."""
    answering = _Answering(Project(directory))
    while True:
        try:
            pictures: list[Picture] = wire.recv()
        except EOFError:
            return
        found: object
        try:
            found = answering.predict(pictures)
        except AtlasError as error:
            found = error
        wire.send(found)


class _Answering:
    """Keeps the model that answers loaded, and loads the next one when it is promoted."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: tuple[str | None, Any] = (None, None)

    def predict(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        opened = [decode(content, name) for name, content in pictures]  # before torch is loaded
        from atlas.serving import project_predictor, reliable_levels

        with self._project.database.reader() as session:
            model_id = current_id(session)
        if model_id is None or self._known[0] != model_id:
            self._known = (model_id, project_predictor(self._project))
        # Labels that have come since may have made a level reliable.
        levels = reliable_levels(self._project, str(model_id))
        predictor = replace(self._known[1], levels=levels)
        found = predictor.predict_pictures(opened, [name for name, _ in pictures])
        return {"model": model_id, "predictions": found}
