"""Starting Label Studio: what can be in the way, and that it starts again."""

from pathlib import Path
import socket
import sqlite3
import stat
import subprocess
import time

import pytest

from atlas.errors import PortInUse, ServiceError
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.settings import LabelStudioSettings, Settings
from services import label_studio
from services.run_files import write_state
from tests.live.conftest import TAXONOMY, Server, free_port

pytestmark = pytest.mark.live


def test_a_busy_port_is_named(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} .*in use.*label_studio.port"):
            label_studio.command_and_env(server.home, port)


def test_a_missing_program_says_how_to_get_it(tmp_path: Path) -> None:
    settings = Settings(label_studio=LabelStudioSettings(command=str(tmp_path / "nothing")))
    project = Project.create(tmp_path / "project", settings, TAXONOMY)
    with pytest.raises(ServiceError, match="make setup.*label_studio.command"):
        label_studio.command_and_env(project, free_port())


def test_no_answer_is_an_error_in_time() -> None:
    waited: list[float] = []
    with pytest.raises(ServiceError, match="did not answer"):
        label_studio.wait_until_healthy(f"http://127.0.0.1:{free_port()}", 0.5, waited.append)
    assert waited[0] < 0.1
    assert waited[-1] < 0.6


def test_it_stops_and_starts_again_with_the_same_token(server: Server, tmp_path: Path) -> None:
    """A second server: starts, stops within 10 s of SIGTERM, and knows its token afterwards."""
    project = Project.create(tmp_path / "project", Settings(), TAXONOMY)
    for _ in range(2):
        port = free_port()
        command, environment = label_studio.command_and_env(project, port)
        with (project.run / "label-studio.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        url = f"http://127.0.0.1:{port}"
        label_studio.wait_until_healthy(url, 180.0, lambda waited_s: None)
        write_state(project, "label-studio", url=url)
        LabelStudioOracle(project).check()
        process.terminate()
        started = time.monotonic()
        process.wait(timeout=30)
        assert time.monotonic() - started < 10
    data = project.label_studio / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    with sqlite3.connect(data / "label_studio.sqlite3") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT email FROM htx_user").fetchall() == [
            (label_studio.ADMIN_EMAIL,)
        ]
    connection.close()
    key = (data / ".env").read_text()
    assert key != (server.home.label_studio / "data" / ".env").read_text()
