"""The dashboard's pages on a project of 50,000 images: painted within a second."""

from pathlib import Path
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.live, pytest.mark.slow]

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "dashboard.py"
PAGES = ("Overview", "Level", "Queue", "Map", "Models", "Schedule", "Jobs", "Annotators")


def test_every_page_is_painted_within_a_second(chromium: str, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), str(tmp_path / "large"), "--images", "50000"]
    done = subprocess.run(
        [*command, "--repeats", "3", "--chromium", chromium],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line]
    assert tuple(rows[2:]) == PAGES  # after the head and its rule
