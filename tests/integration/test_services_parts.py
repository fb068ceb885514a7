"""Child processes of `atlas up`, with small real programs in the place of the parts."""

from collections.abc import Callable
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from atlas.errors import PortInUse, ServiceError
from atlas.project import Project
from services import part as part_module
from services.part import Part
from services.ports import take_port
from services.supervisor import Supervisor, refuse_if_running


def python_part(tmp_path: Path, code: str) -> Part:
    return Part(
        "sample",
        [sys.executable, "-c", code],
        env=os.environ,
        log_file=tmp_path / "sample.log",
        is_healthy=lambda _pid: (tmp_path / "ready").exists(),
    )


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"still not so after {timeout_s} s"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_part_is_healthy_when_it_says_so_and_stops_when_asked(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    part = python_part(tmp_path, f"import time; open({str(ready)!r}, 'w'); time.sleep(60)")
    assert not part.is_healthy()
    part.start()
    wait_until(part.is_healthy)
    part.ask_to_stop()
    assert part.wait(time.monotonic() + 5)


def test_a_part_that_was_killed_is_started_again(tmp_path: Path) -> None:
    part = python_part(tmp_path, "import time; time.sleep(60)")
    part.start()
    first = part.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: watched(part) not in (None, first))
    assert part.restarts == 1
    part.kill()


def watched(part: Part) -> int | None:
    part.watch()
    return part.pid


def test_a_part_that_keeps_dying_is_given_up_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "FIRST_DELAY_S", 0.01)
    part = python_part(tmp_path, "raise SystemExit('cannot open the thing')")
    part.start()
    with pytest.raises(
        ServiceError, match=r"sample ended 5 times in a row \(exit code 1\)"
    ) as info:
        wait_until(lambda: watched(part) == 0)
    assert "cannot open the thing" in str(info.value)
    assert part.restarts == 4  # 5 deaths: the first start and four more


def test_what_a_part_tells_is_kept_to_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "LOG_MAX_BYTES", 1000)
    code = (
        "import time\nfor i in range(10_000): print(i, 'told' * 30, flush=True); time.sleep(0.01)"
    )
    part = python_part(tmp_path, code)
    log, older = tmp_path / "sample.log", tmp_path / "sample.1.log"
    part.start()
    for _ in range(3):  # it goes on telling at the new end, and the older is put aside anew
        older.unlink(missing_ok=True)
        wait_until(lambda: watched(part) is not None and older.exists())
        assert log.stat().st_size < 1000 < older.stat().st_size
        assert b"\0" not in older.read_bytes()  # as if it wrote where it had been
    assert part.restarts == 0
    part.kill()


def test_a_stubborn_part_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(tmp_path / 'ready')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    part = python_part(tmp_path, code)
    part.start()
    wait_until(lambda: part.is_healthy() and (tmp_path / "ready").read_text() != "")
    child = int((tmp_path / "ready").read_text())
    part.ask_to_stop()
    assert not part.wait(time.monotonic() + 0.3)
    part.kill()
    wait_until(lambda: gone(child))


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_part_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent_code = f"""
from pathlib import Path
import os, sys, time
from services.part import Part
part = Part("sample", [sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ,
            log_file=Path({str(tmp_path / "log")!r}), is_healthy=lambda pid: True)
part.start()
print(part.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.communicate()
    wait_until(lambda: gone(child))


def test_a_port_in_use_is_named_with_its_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} on 127\.0\.0\.1 .* service\.port"):
            take_port("127.0.0.1", port, "service.port")
    assert take_port("127.0.0.1", port, "service.port") == port


def test_port_zero_is_any_free_one() -> None:
    assert take_port("127.0.0.1", 0, "service.port") > 1023


def test_two_may_not_run_one_folder(project: Project) -> None:
    with Supervisor(project):
        with (
            pytest.raises(ServiceError, match=f"already runs on .* \\(process {os.getpid()}\\)"),
            Supervisor(project),
        ):
            pass
        with pytest.raises(ServiceError, match="already runs"):
            refuse_if_running(project.directory)
    refuse_if_running(project.directory)
    with Supervisor(project):
        pass
