"""A Celery broker that is a folder: one file a message, for one machine.

kombu's own file-system transport writes a message in place and lets a consumer move it while it is
still empty, moves across disks by copying, and orders by an unpadded clock. Here a message appears
and disappears by one rename, so it is whole or absent and goes to one consumer.
"""

import os
from pathlib import Path
from queue import Empty
import time
from typing import Any
from uuid import uuid4

from kombu.transport import virtual
from kombu.utils.json import dumps, loads

URL = "folder://localhost"
TRANSPORT = "services.broker:Transport"


class Channel(virtual.Channel):  # type: ignore[misc]  # kombu has no types
    """Queues as files named `<time>_<id>.<queue>` in `transport_options["folder"]`."""

    @property
    def folder(self) -> Path:
        """Where the messages lie."""
        return Path(self.connection.client.transport_options["folder"])

    def _put(self, queue: str, message: Any, **_: Any) -> None:
        name = f"{time.time_ns():020d}_{uuid4().hex}.{queue}"
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{name}"
        partial.write_text(dumps(message), encoding="utf-8")
        partial.rename(self.folder / name)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for name in self._names(queue):
            taken = self.folder / f".taken_{name}"
            try:
                os.rename(self.folder / name, taken)
            except FileNotFoundError:
                continue  # another consumer was faster
            text = taken.read_text(encoding="utf-8")
            taken.unlink()
            return loads(text)
        raise Empty

    def _names(self, queue: str) -> list[str]:
        """Waiting messages, oldest first."""
        try:
            found = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return sorted(name for name in found if name[0] != "." and name.partition(".")[2] == queue)

    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _purge(self, queue: str) -> int:
        names = self._names(queue)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        return len(names)


class Transport(virtual.Transport):  # type: ignore[misc]
    """The folder as kombu sees it."""

    Channel = Channel
    driver_type = "folder"
    driver_name = "folder"
    default_port = 0

    def driver_version(self) -> str:
        """Kombu asks; there is no driver but this file."""
        return "1"
