"""The live loop on real photographs, where the environment says where they are.

    ATLAS_CIFAR10_ZIP=cifar10.zip/train ATLAS_CIFAR10_CHECKPOINT=regnetx_002.safetensors make test

The data is no part of the project, so that even ATLAS_REQUIRE_LIVE=1 lets this one be skipped.
"""

from collections.abc import Mapping
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.live, pytest.mark.slow]

IMAGES, CHECKPOINT = "ATLAS_CIFAR10_ZIP", "ATLAS_CIFAR10_CHECKPOINT"
ARCH = "regnetx_002"
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "live_loop.py"
LIMIT, ROUNDS, BATCH, AUDIT = 60, 2, 10, 20
LEVELS = 3  # vehicle or animal / craft, road, pet, … / ten leaves


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """The result.json of the benchmark."""
    missing = [name for name in (IMAGES, CHECKPOINT) if not os.environ.get(name)]
    if missing:
        pytest.skip(
            f"real photographs are no part of the project; set {' and '.join(missing)} to run this"
        )
    command = [sys.executable, str(BENCHMARK), "--truth", "folders", "--out", str(tmp_path / "out")]
    command += ["--images", os.environ[IMAGES], "--checkpoint", os.environ[CHECKPOINT]]
    command += ["--arch", ARCH, "--image-size", "64", "--limit", str(LIMIT)]
    command += ["--rounds", str(ROUNDS), "--batch", str(BATCH), "--audit", str(AUDIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    table = done.stdout.strip().splitlines()
    assert len(table) == 2 + ROUNDS, done.stdout  # the head and its rule
    assert (tmp_path / "out" / "curve.png").stat().st_size > 0
    read: dict[str, Any] = json.loads((tmp_path / "out" / "result.json").read_text())
    return read


def test_sixty_photographs_go_round(content: Mapping[str, Any]) -> None:
    assert content["images"] == {"pool": LIMIT - AUDIT, "audit": AUDIT, "left_out": 0}
    # A round may go on while the result is written, so there may be one more.
    rounds = content["rounds"][:ROUNDS]
    assert [one["labels"] for one in rounds] == [BATCH, 2 * BATCH]
    assert len(content["levels"]) == LEVELS
    for one in rounds:
        assert one["label_to_queue_s"] > 0
        measured = [one["accuracy"][level] for level in content["levels"]]
        assert [found["n"] for found in measured] == [AUDIT] * LEVELS
        assert all(0 <= found["low"] <= found["accuracy"] <= found["high"] for found in measured)
