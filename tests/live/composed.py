"""A server's parts as compose.yaml starts them, on this machine's hosts, ports and folders."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import secrets
import subprocess
import sys
import time
from typing import Any

import pytest

from atlas.errors import ServiceError
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy
from services import label_studio
from services.label_studio import Login
from tests import compose
from tests.servers import Postgres, find_postgres, free_port, missing, running_redis

PROGRAMS = Path(sys.executable).parent
HEALTHY_WITHIN_S = 500.0  # Label Studio's first start makes its tables
# service of the file → what its log calls itself
PARTS = {"api": "api", "worker": "worker", "gpu-worker": "worker", "schedule": "schedule"}
STOPS_WITHIN_S = 12.0  # soft: running jobs are given 5 s of it


@dataclass(frozen=True)
class Stores:
    """PostgreSQL and Redis as the file sets them up, and the values that it wants."""

    values: dict[str, str]
    postgres: Postgres
    redis_port: int


@contextmanager
def running_stores(folder: Path) -> Iterator[Stores]:
    """Accounts, databases and passwords are the file's."""
    names = [name for name, (mark, _) in compose.variables().items() if mark == "?"]
    values = {name: secrets.token_hex(12) for name in names}
    values |= {"LABEL_STUDIO_USERNAME": "admin@example.org", "IMAGES": "/images"}
    postgres = Postgres(find_postgres(), host_auth="scram-sha-256")
    try:
        service = compose.services(values)["postgres"]
        environment = {**os.environ, **service["environment"]}
        environment |= {"PGHOST": str(postgres.folder), "PGPORT": str(postgres.port)}
        environment["PATH"] = f"{postgres.programs}:{environment['PATH']}"
        script = compose.ROOT / "deploy" / "postgres" / "make-databases.sh"
        subprocess.run([str(script)], env=environment, check=True)
        program, *options = compose.services(values)["redis"]["command"]
        assert program == "redis-server"
        with running_redis(folder, *options) as redis_port:
            yield Stores(values, postgres, redis_port)
    finally:
        postgres.remove()


@dataclass
class Server:
    """What `docker compose up` would run, on this machine."""

    directory: Path
    values: dict[str, str]
    places: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    open_for_reading = False

    @property
    def api(self) -> str:
        return f"http://{self.places['api:8090']}"

    @property
    def label_studio(self) -> str:
        return f"http://{self.places['label-studio:8080']}"

    @property
    def labelling(self) -> str:
        """Where annotators are sent."""
        return f"{self.api}/label"

    @property
    def login(self) -> Login:
        names = ("LABEL_STUDIO_USERNAME", "LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_TOKEN")
        return Login(*(self.values[name] for name in names))

    @property
    def project(self) -> Project:
        return Project(self.directory)

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
            path = label_studio.find_command(self.project)
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

    def start_all(self) -> None:
        """Every part, as the file orders them; skips where Label Studio is not installed."""
        try:
            label_studio.find_command(self.project)
        except ServiceError as error:
            missing(str(error))
        for name in ("label-studio", *PARTS):
            self.start(name)
        label_studio.wait_until_healthy(self.label_studio, HEALTHY_WITHIN_S, lambda waited_s: None)
        connected = self.run("connect")
        assert connected.returncode == 0, connected.stderr

    def run(self, name: str, timeout_s: float = 240.0, **environment: str) -> Any:
        command, whole = self.command(name, environment)
        return subprocess.run(
            command, env=whole, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def check(self) -> Any:
        """The worker's health check."""
        command, environment = self.command("worker")
        check = self.service("worker")["healthcheck"]["test"]
        assert check[:2] == ["CMD", "atlas"]
        return subprocess.run(
            [command[0], *check[2:]], env=environment, capture_output=True, text=True, check=False
        )

    def log(self, name: str) -> Path:
        return self.directory.parent / f"{name}.log"

    def end(self) -> None:
        """SIGTERM: every part stops in time, and said what it said as JSON, without secrets.

        The fine-tunes were the GPU worker's, the other jobs the other worker's.
        """
        jobs = {}
        for name in reversed(PARTS):
            assert self.stop(name) < STOPS_WITHIN_S, name
            records = self.said(name)
            for record in records:
                assert {"time", "level", "event"} <= set(record)
                assert record["part"] == PARTS[name]
            assert not [record for record in records if record["level"] in ("error", "critical")]
            secrets_of = [value for key, value in self.values.items() if "PASSWORD" in key]
            text = self.log(name).read_text()
            assert not [secret for secret in secrets_of if secret in text]
            jobs[name] = {record["job"] for record in records if "job" in record}
        assert jobs["gpu-worker"] == {"finetune"}
        assert "finetune" not in jobs["worker"] and "embed" in jobs["worker"]

    def said(self, name: str) -> list[dict[str, Any]]:
        """What a part logged."""
        lines = self.log(name).read_text().splitlines()
        # Celery itself says "worker: Warm shutdown" after an empty line
        return [json.loads(one) for one in lines if one and not one.startswith("worker: ")]

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


@contextmanager
def made_server(
    folder: Path, stores: Stores, settings: Settings, taxonomy: Taxonomy, pool: Path
) -> Iterator[Server]:
    """A project with the pool on the server's stores; nothing runs yet.

    The environment is the file's for the block, so that the project can be opened here too.
    """
    directory = folder / "project"
    port = free_port()
    places = {
        "postgres:5432": f"127.0.0.1:{stores.postgres.port}",
        "redis:6379": f"127.0.0.1:{stores.redis_port}",
        "api:8090": f"127.0.0.1:{free_port()}",
        "label-studio:8080": f"127.0.0.1:{port}",
        "/project": str(directory),
        "/data": str(folder / "label-studio-data"),
    }
    Path(places["/data"]).mkdir()
    values = {**stores.values, "LABEL_STUDIO_URL": f"http://127.0.0.1:{port}"}
    values["WORKER_QUEUES"] = "atlas"  # as docs/howto/server.md wants it beside a GPU worker
    found = Server(directory, values, places)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in found.service("api")["environment"].items():
            if key.startswith("ATLAS_"):
                patch.setenv(key, value)
        made = Project.create(directory, Settings(**settings.model_dump()), taxonomy)
        made.database.engine.dispose()
        project = Project(directory)
        ingest(project, pool, truth="folders")
        project.database.engine.dispose()
        try:
            yield found
        finally:
            found.kill_all()
