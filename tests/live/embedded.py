"""`atlas up` as a user starts it, and what it told them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import json
from pathlib import Path
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from atlas.errors import ServiceError
from atlas.project import Project
from atlas.settings_file import change_setting
from services import label_studio
from services.label_studio import Login
from tests.live.patience import wait_until
from tests.servers import missing

ATLAS = str(Path(sys.executable).with_name("atlas"))
STOPS_WITHIN_S = 10.0
Told = tuple[str, str, Any]  # section, key, value of atlas.toml
PRINTED = re.compile(
    r"^label here +(\S+)\n +log in as +(\S+) +password (\S+)\ndashboard +(\S+)/$", re.M
)


@dataclass
class System:
    """A running `atlas up`."""

    project: Project
    process: subprocess.Popen[str]
    open_for_reading = True

    @property
    def printed(self) -> str:
        return (self.project.run / "up.log").read_text(encoding="utf-8")

    @property
    def labelling(self) -> str:
        """Where annotators are sent."""
        return self._told(1)

    @property
    def login(self) -> Login:
        """What the user is told, and the token of that account."""
        return Login(self._told(2), self._told(3), label_studio.admin(self.project).token)

    @property
    def api(self) -> str:
        return self._told(4)

    @property
    def label_studio(self) -> str:
        return self.url("label-studio")

    def _told(self, part: int) -> str:
        found = PRINTED.search(self.printed)
        assert found is not None, self.printed
        return found[part]

    def url(self, name: str) -> str:
        path = self.project.run / f"{name}.json"
        return str(json.loads(path.read_text())["url"])

    def get(self, path: str) -> Any:
        return httpx.get(self.url("api") + path, trust_env=False, timeout=10.0).json()

    def part(self, *words: str) -> psutil.Process:
        """The child whose command holds all of `words`."""
        children = psutil.Process(self.process.pid).children()
        (found,) = [one for one in children if set(words) <= set(one.cmdline())]
        return found

    def check(self) -> Any:
        """`atlas serve check`."""
        command = [ATLAS, "serve", "check", str(self.project.directory)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def end(self) -> None:
        """Ctrl-C: everything stops in time, and nobody listens any more."""
        addresses = (self.label_studio, self.api)
        self.end_by(signal.SIGINT)
        for url in addresses:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", urlsplit(url).port))  # fails where somebody listens
        assert self.printed.rstrip().endswith("stopped; what was finished is kept")

    def end_by(self, asked: signal.Signals) -> None:
        """Send it the signal: it and its children are gone in time."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        assert len(children) >= 4  # Label Studio, API, worker, schedule
        started_s = time.monotonic()
        self.process.send_signal(asked)
        assert self.process.wait(timeout=2 * STOPS_WITHIN_S) == 0
        assert time.monotonic() - started_s < STOPS_WITHIN_S
        assert psutil.wait_procs(children, timeout=1.0)[1] == []


def start(project: Project) -> System:
    """`atlas up`, until it has told where everything is."""
    with (project.run / "up.log").open("w") as log:
        process = subprocess.Popen(
            [ATLAS, "up", str(project.directory)], stdout=log, stderr=log, text=True
        )
    system = System(project, process)
    wait_until(lambda: "dashboard" in system.printed or process.poll() is not None, 240.0)
    assert process.poll() is None, system.printed
    return system


def copy_project(template: Path, directory: Path, told: Sequence[Told]) -> Project:
    """A project of its own on free ports; skips where Label Studio is not installed."""
    shutil.copytree(template, directory)
    for section, key, value in (*told, ("service", "port", 0), ("label_studio", "port", 0)):
        change_setting(directory, section, key, value)
    project = Project(directory)
    try:
        label_studio.find_command(project)
    except ServiceError as error:
        missing(str(error))
    return project


@contextmanager
def running(project: Project) -> Iterator[System]:
    """`atlas up` for the block."""
    system = start(project)
    try:
        yield system
    finally:
        system.process.terminate()
        system.process.wait(timeout=30)
