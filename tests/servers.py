"""Real PostgreSQL and Redis for tests, each on a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any, NoReturn
from uuid import uuid4

import psycopg
import pytest

QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def missing(reason: str) -> NoReturn:
    """Skip, or fail where every live test must run."""
    if os.environ.get("ATLAS_REQUIRE_LIVE") == "1":
        pytest.fail(f"ATLAS_REQUIRE_LIVE=1, but {reason}")
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A PostgreSQL server in a folder of its own; it refuses to run as root, so it does not.

    Args:
        programs: the folder of `postgres` and `initdb`.
        host_auth: how it checks who comes by TCP; by its socket everyone is let in.
    """

    def __init__(self, programs: Path, *, host_auth: str = "trust") -> None:
        self.programs = programs
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="atlas-postgres-"))
        # Debian's package makes the account; without it root becomes nobody.
        names = {one.pw_name for one in pwd.getpwall()}
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self.own(self.folder)
        initdb = [str(programs / "initdb"), "-D", str(self.folder / "data"), "--no-sync"]
        initdb += ["-U", "postgres", "-E", "UTF8", "--locale", "C.UTF-8"]
        initdb += ["--auth-local", "trust", "--auth-host", host_auth]
        self._run(initdb)
        self.start()

    def start(self) -> None:
        """Start it on its folder and port; returns once it answers."""
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += ["-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"]
        for option in QUICK:
            command += ["-c", option]
        with (self.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, **self._as
            )
        end_s = time.monotonic() + 60.0
        while True:
            try:
                psycopg.connect(self.plain_url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end_s, (self.folder / "postgres.log").read_text()
                time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it; SIGINT (its "fast") ends the connections there are."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)
            self._process = None

    def remove(self) -> None:
        """Stop it and delete what it holds."""
        self.stop()
        shutil.rmtree(self.folder)

    def own(self, folder: Path) -> None:
        """Give a folder to the account that it runs as."""
        if self._as:
            os.chown(folder, self._as["user"], self._as["group"])

    def plain_url(self, database: str) -> str:
        """The address of a database by its socket, for libpq."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    def new_database(self) -> str:
        """An empty database of its own; gives its URL for `store.url`."""
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self.plain_url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, check=False, **self._as
        )
        assert done.returncode == 0, done.stderr


def find_postgres() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = shutil.which("postgres")
    if program is None and not found:
        missing("there is no PostgreSQL; install it with `apt-get install postgresql`")
    return Path(program).resolve().parent if program else found[-1].parent


@contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[int]:
    """A Redis for the block; gives its port."""
    program = shutil.which("redis-server")
    if program is None:
        missing("there is no redis-server; install it with `apt-get install redis-server`")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int) -> None:
    end_s = time.monotonic() + 30.0
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < end_s, f"nothing listens on port {port}"
            time.sleep(0.05)
