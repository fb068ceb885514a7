"""`atlas demo` as a user types it."""

import json
from pathlib import Path
import signal
import subprocess
import sys
import time

import psutil
import pytest

from atlas.cli import INTERRUPTED
from atlas.errors import ServiceError
from atlas.project import Project
from services import label_studio
from services.demo import MARKER
from tests.servers import missing

pytestmark = [pytest.mark.live, pytest.mark.slow]

ATLAS = str(Path(sys.executable).with_name("atlas"))


@pytest.fixture
def folder(tmp_path: Path, project: Project) -> Path:
    """Where the demo goes; skips where Label Studio is not installed."""
    try:
        label_studio.find_command(project)
    except ServiceError as error:
        missing(str(error))
    return tmp_path / "atlas-demo"


def left_over(folder: Path) -> list[psutil.Process]:
    """Processes that still work on the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("ATLAS_PROJECT", ""):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def test_two_rounds_of_the_demo(folder: Path) -> None:
    done = subprocess.run(
        [ATLAS, "demo", "--rounds", "2", "--dir", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)  # and nothing else
    assert content == json.loads((folder / "result.json").read_text())
    assert [(one["round"], one["labels"]) for one in content["rounds"]] == [(1, 20), (2, 40)]
    for one in content["rounds"]:
        assert set(one["accuracy"]) == {"category", "garment", "colour"}
        assert all(
            0 <= found["low"] <= found["accuracy"] <= found["high"] <= 1
            for found in one["accuracy"].values()
        )
        assert {found["n"] for found in one["accuracy"].values()} == {150}
        assert 0 < one["label_to_queue_s"] < 30
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "http" not in (folder / "report.html").read_text().replace("http://www.w3.org", "")
    assert "atlas up" in done.stderr
    assert (folder / MARKER).exists()
    assert left_over(folder) == []


def test_ctrl_c_stops_everything(folder: Path) -> None:
    told = folder.parent / "demo.log"
    with told.open("w") as log:
        process = subprocess.Popen([ATLAS, "demo", "--dir", str(folder)], stdout=log, stderr=log)
    try:
        end_s = time.monotonic() + 120
        while not (folder / "run" / "worker.json").exists():
            assert process.poll() is None and time.monotonic() < end_s, told.read_text()
            time.sleep(0.2)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == INTERRUPTED, told.read_text()
    except subprocess.TimeoutExpired:
        pytest.fail(told.read_text())
    finally:  # its parts die with it: a failure here is not to disturb the tests after it
        process.kill()
        process.wait()
    assert psutil.wait_procs(children, timeout=2.0)[1] == []
    assert left_over(folder) == []
