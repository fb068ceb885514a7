"""`atlas up`: Label Studio, worker, schedule and web API of one project on one machine."""

from collections.abc import Callable
import fcntl
import os
from pathlib import Path
import sys
import time
from types import TracebackType
from typing import Self, TextIO

import httpx
import structlog

from atlas.errors import ServiceError
from atlas.project import Project
from services import label_studio
from services.addresses import WEBHOOK_SECRET
from services.celery_config import GPU_QUEUE, QUEUE, folder
from services.interrupts import raise_if_interrupted
from services.part import Part
from services.ports import take_port
from services.run_files import forget_state, read_state, write_state

LOCK_FILE = "up.lock"
HEALTH_TIMEOUT_S = 2.0
STOP_S = 8.0
HEALTHY_TIMEOUT_S = 180.0  # the very first start of Label Studio migrates its database
WATCH_EVERY_S = 0.2
CELERY_QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
WORKER_PROCESSES = 3  # a long embed and a fine-tune leave one for pushing and closing rounds

log = structlog.get_logger(__name__)

Report = Callable[[str], None]


class Supervisor:
    """Starts a project's parts, keeps them running, stops them all when the block ends.

    Use it as a context manager, from the main thread.

    Args:
        project: what to run.
        any_port: take free ports instead of the configured ones.

    Raises:
        ServiceError: another `atlas up` runs on this folder, or a part keeps dying.
        PortInUse: a configured port is taken.
    """

    def __init__(self, project: Project, *, any_port: bool = False) -> None:
        self.project = project
        self.any_port = any_port
        self.parts: list[Part] = []
        self.label_studio_url = project.settings.label_studio.url
        self.api_url = ""
        self._lock: TextIO | None = None
        self._http = httpx.Client(timeout=HEALTH_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        _ = self.project.run  # makes the folder
        self._lock = _lock(self.project.directory)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._http.close()
            if self._lock is not None:
                self._lock.close()

    def start(self) -> None:
        """Start every part; returns before they are healthy."""
        settings = self.project.settings
        wanted = 0 if self.any_port else settings.service.port
        api_port = take_port(settings.service.host, wanted, "service.port")
        self.api_url = f"http://{settings.service.host}:{api_port}"
        self.project.secret(WEBHOOK_SECRET)  # before two processes could make it at once
        self._clear_messages()
        if not settings.label_studio.url:
            self._start(self._label_studio())
        self._start(self._api(api_port))
        self._start(self._worker())
        self._start(self._schedule())
        write_state(self.project, "api", url=self.api_url)

    def wait_until_healthy(self, report: Report, *, timeout_s: float = HEALTHY_TIMEOUT_S) -> None:
        """Wait for every part to answer, telling `report` what is still awaited.

        Raises:
            ServiceError: not healthy in time, or dying again and again.
        """
        started_s = time.monotonic()
        waiting = list(self.parts)
        while waiting := [part for part in waiting if not part.is_healthy()]:
            names = ", ".join(part.name for part in waiting)
            passed_s = time.monotonic() - started_s
            report(f"waiting for {names} ({passed_s:.0f} s)")
            if passed_s > timeout_s:
                first = waiting[0]
                raise ServiceError(
                    f"{names} did not answer within {timeout_s:.0f} s; the last lines of "
                    f"{first.log_file}:\n{first.last_lines()}"
                )
            self.watch()
            time.sleep(WATCH_EVERY_S)

    def watch(self) -> None:
        """Look at each part once and restart what has died.

        Raises:
            ServiceError: a part keeps dying.
            KeyboardInterrupt: a signal asked for the end and was lost on its way.
        """
        raise_if_interrupted()
        for part in self.parts:
            part.watch()

    def stop(self) -> None:
        """Stop every part, the last started first; what does not stop in time is killed."""
        until_s = time.monotonic() + STOP_S
        parts, self.parts = self.parts[::-1], []
        try:
            for part in parts:
                part.ask_to_stop()
            for part in parts:
                part.wait(until_s)
        finally:  # a second Ctrl-C cuts the waiting short
            for part in parts:
                part.kill()
        for name in ("api", "worker", "schedule", "label-studio"):
            forget_state(self.project, name)

    def _start(self, part: Part) -> None:
        part.start()
        self.parts.append(part)

    def _clear_messages(self) -> None:
        """Drop old messages: the job rows know what is to be done, and the tick sends it."""
        messages = folder(self.project)
        if messages.is_dir():
            for message in messages.iterdir():
                message.unlink()

    def _part(self, name: str, command: list[str], is_healthy: Callable[[int], bool]) -> Part:
        env = {
            **os.environ,
            "ATLAS_PROJECT": str(self.project.directory),
            "PYTHONUNBUFFERED": "1",
            # Torch's idle threads spin by default: beside one other busy process that made
            # embedding on 2 cores four times slower.
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        }
        log_file = self.project.run / f"{name}.log"
        return Part(name, command, env=env, log_file=log_file, is_healthy=is_healthy)

    def _api(self, port: int) -> Part:
        host = self.project.settings.service.host
        command = [sys.executable, "-m", "services.api", host, str(port)]
        return self._part("api", command, lambda _pid: self._answers(f"{self.api_url}/healthz"))

    def _worker(self) -> Part:
        command = [*_celery(), "worker", "--loglevel", "WARNING", *CELERY_QUIET]
        command += [
            "-Q",
            f"{QUEUE},{GPU_QUEUE}",
            "--concurrency",
            str(WORKER_PROCESSES),
            "-n",
            "worker@%h",
        ]
        return self._part("worker", command, self._says_ready("worker"))

    def _schedule(self) -> Part:
        # In memory: when something was sent last is in the job rows, not in a file of the beat.
        command = [*_celery(), "beat", "--loglevel", "WARNING", "--scheduler"]
        command += ["celery.beat:Scheduler", "--pidfile", ""]
        return self._part("schedule", command, self._says_ready("schedule"))

    def _label_studio(self) -> Part:
        wanted = 0 if self.any_port else self.project.settings.label_studio.port
        port = take_port(label_studio.HOST, wanted, "label_studio.port")
        self.label_studio_url = f"http://127.0.0.1:{port}"
        command, env = label_studio.command_and_env(self.project, port)

        def is_healthy(pid: int) -> bool:
            if not self._answers(f"{self.label_studio_url}/health"):
                return False
            write_state(self.project, "label-studio", url=self.label_studio_url, pid=pid)
            return True

        log_file = self.project.run / "label-studio.log"
        return Part("label-studio", command, env=env, log_file=log_file, is_healthy=is_healthy)

    def _answers(self, url: str) -> bool:
        try:
            return self._http.get(url).is_success
        except httpx.TransportError:
            return False

    def _says_ready(self, name: str) -> Callable[[int], bool]:
        return lambda pid: read_state(self.project, name).get("pid") == pid


def _celery() -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "services.celery_app"]


def refuse_if_running(directory: Path) -> None:
    """Raise `ServiceError` where another process runs the project of that folder."""
    if (directory / "run" / LOCK_FILE).exists():
        _lock(directory).close()


def _lock(directory: Path) -> TextIO:
    """Hold DIR/run/up.lock until the file is closed or this process ends.

    Raises:
        ServiceError: another process holds it.
    """
    file = (directory / "run" / LOCK_FILE).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise ServiceError(
            f"Atlas already runs on {directory} (process {holder}); "
            "stop it with Ctrl-C where it was started"
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file
