"""One child process: start it, know whether it lives, start it again later, stop it."""

from collections.abc import Callable, Mapping
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import structlog

from atlas.errors import ServiceError

CHILD = Path(__file__).with_name("child.py")
QUICK_DEATH_S = 30.0
MAX_QUICK_DEATHS = 5
FIRST_DELAY_S = 0.5
LOG_TAIL_LINES = 12
LOG_MAX_BYTES = 16 << 20  # of a part's output, and as much of older

log = structlog.get_logger(__name__)


class Part:
    """A program that should run, in a process group of its own, its output in a file.

    Args:
        name: what messages call it.
        command: program and arguments.
        env: its whole environment.
        log_file: where its output is appended.
        is_healthy: asked until it says True after a start.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        env: Mapping[str, str],
        log_file: Path,
        is_healthy: Callable[[int], bool],
    ) -> None:
        self.name = name
        self.log_file = log_file
        self.restarts = 0
        self._command = command
        self._env = dict(env)
        self._is_healthy = is_healthy
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._quick_deaths = 0
        self._start_at_s = 0.0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it. Must be called from a thread that lives as long as the part should."""
        child = [sys.executable, "-I", str(CHILD), str(os.getpid()), *self._command]
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                child,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C in the terminal reaches Atlas alone, which stops in order
            )
        self._started_s = time.monotonic()

    def is_healthy(self) -> bool:
        """Whether it runs and answers."""
        return self._process is not None and self._is_healthy(self._process.pid)

    def watch(self) -> None:
        """Notice that it died, and start it again after a pause that doubles with each death.

        Its output is put aside once there is much of it.

        Raises:
            ServiceError: it died quickly several times in a row; the message shows its last lines.
        """
        self._shorten_log()
        now_s = time.monotonic()
        if self._process is None:
            if now_s >= self._start_at_s:
                self.restarts += 1
                self.start()
            return
        code = self._process.poll()
        if code is None:
            return
        quick = now_s - self._started_s < QUICK_DEATH_S
        self._quick_deaths = self._quick_deaths + 1 if quick else 1
        self._process = None
        if self._quick_deaths >= MAX_QUICK_DEATHS:
            raise ServiceError(
                f"{self.name} ended {self._quick_deaths} times in a row (exit code {code}); "
                f"its last lines, from {self.log_file}:\n{self.last_lines()}"
            )
        delay_s = FIRST_DELAY_S * 2 ** (self._quick_deaths - 1)
        self._start_at_s = now_s + delay_s
        log.warning("a part ended and is started again", part=self.name, code=code, in_s=delay_s)

    def last_lines(self) -> str:
        """The end of its log."""
        if not self.log_file.exists():
            return ""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def _shorten_log(self) -> None:
        """As logrotate's copytruncate: the program appends, so it goes on at the new end."""
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_MAX_BYTES:
            shutil.copyfile(self.log_file, self.log_file.with_suffix(".1.log"))
            os.truncate(self.log_file, 0)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program (its own children are its business)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, until_s: float) -> bool:
        """Whether it has ended by `until_s` (monotonic clock)."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill its whole process group."""
        if self._process is None or self._process.poll() is not None:
            return
        log.warning("a part did not stop in time and is killed", part=self.name)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
