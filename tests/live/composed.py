"""A server's parts as compose.yaml starts them, on this machine's hosts, ports and folders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from atlas.project import Project
from services import label_studio
from tests import compose

PROGRAMS = Path(sys.executable).parent


@dataclass
class Server:
    """What `docker compose up` would run, on this machine."""

    directory: Path
    values: dict[str, str]
    places: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"http://{self.places['api:8090']}"

    @property
    def label_studio(self) -> str:
        return f"http://{self.places['label-studio:8080']}"

    def service(self, name: str) -> dict[str, Any]:
        """A service of the file with this machine's hosts, ports and folders."""
        moved: dict[str, Any] = self._moved(compose.services(self.values)[name])
        return moved

    def _moved(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {key: self._moved(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._moved(value) for value in node]
        for there, here in self.places.items():
            node = node.replace(there, here) if isinstance(node, str) else node
        return node

    def command(self, name: str, environment: Mapping[str, str] = {}) -> tuple[list[str], Any]:
        service = self.service(name)
        program, *arguments = service["command"]
        if program == "label-studio":
            path = label_studio.find_command(Project(self.directory))
            port = self.label_studio.rpartition(":")[2]
            arguments = [port if one == "8080" else one for one in arguments]
            host, pg_port = self.places["postgres:5432"].split(":")
            own = {"POSTGRE_HOST": host, "POSTGRE_PORT": pg_port}
        else:
            path = PROGRAMS / program
            own = {"ATLAS_SERVICE__PORT": self.api.rpartition(":")[2], "OMP_NUM_THREADS": "1"}
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        said = {**kept, **service["environment"], **own, **environment}
        return [str(path), *arguments], said

    def start(self, name: str) -> None:
        command, environment = self.command(name)
        with self.log(name).open("wb") as log:
            self.running[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def run(self, name: str, timeout_s: float = 240.0, **environment: str) -> Any:
        command, whole = self.command(name, environment)
        return subprocess.run(
            command, env=whole, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def log(self, name: str) -> Path:
        return self.directory.parent / f"{name}.log"

    def stop(self, name: str) -> float:
        """Send SIGTERM; the seconds it took to end."""
        process = self.running.pop(name)
        started_s = time.monotonic()
        process.terminate()
        process.wait(timeout=60)
        return time.monotonic() - started_s

    def kill_all(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
