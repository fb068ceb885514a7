"""What the workers of one host log, kept in the project's folder where its pages find it.

Several processes append to the file, so the standard library's rotating handler would lose lines:
here one of them puts a file aside that has become large, and the others notice.
"""

from contextlib import suppress
import fcntl
import logging
from logging.handlers import WatchedFileHandler
from pathlib import Path
import socket
import time
from typing import Self

KEPT_BYTES = 4 << 20  # of a host's lines, and as much of older ones
FORGET_S = 30 * 86400.0  # a container's name is that of no later one
PREFIX = "worker-"


class KeptLog(WatchedFileHandler):
    """Appends to a file, whoever else does; never keeps much more than twice `max_bytes`.

    Args:
        path: the file; what is put aside gets the suffix `.1.log`.
        max_bytes: when it is put aside.
    """

    def __init__(self, path: Path, max_bytes: int = KEPT_BYTES) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.path, self.max_bytes = path, max_bytes

    @classmethod
    def in_folder(cls, run: Path) -> Self:
        """The log of this host's workers; forgets those that nobody wrote to for a month."""
        for path in run.glob(f"{PREFIX}*"):
            with suppress(FileNotFoundError):  # another worker starts and forgets it too
                if path.stat().st_mtime < time.time() - FORGET_S:
                    path.unlink()
        return cls(run / f"{PREFIX}{socket.gethostname()}.log")

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line; an error goes the way of all errors of logging."""
        try:
            if self._is_large():
                self._put_aside()
        except OSError:
            self.handleError(record)
        super().emit(record)

    def _is_large(self) -> bool:
        try:
            return self.path.stat().st_size > self.max_bytes
        except FileNotFoundError:  # not begun yet, or just put aside by another process
            return False

    def _put_aside(self) -> None:
        with self.path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_large():  # nobody was faster
                self.path.replace(self.path.with_suffix(".1.log"))
