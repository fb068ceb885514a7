"""The benchmark that wants a GPU, at a size that does not: all its parts fit."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
import re
import zipfile

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.slow


@pytest.fixture
def cifar(tmp_path: Path, draw_pool: Callable[..., Path]) -> Path:
    """A zip laid out as CIFAR-10's: 16 drawn pictures under train/, 24 under test/."""
    for part, per_leaf in (("train", 4), ("test", 6)):
        draw_pool(tmp_path / "pictures" / part, per_leaf=per_leaf, seed=per_leaf)
    path = tmp_path / "cifar.zip"
    with zipfile.ZipFile(path, "w") as file:
        for picture in sorted((tmp_path / "pictures").rglob("*.png")):
            file.write(picture, picture.relative_to(tmp_path / "pictures"))
    return path


def test_it_trains_and_measures_and_goes_on(
    cifar: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three steps of 4 labelled and 28 unlabelled pictures from random weights."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    main = import_module("uda_cifar10").main
    command = ["--cifar", str(cifar), "--out", str(tmp_path / "out"), "--workers", "0"]
    command += ["--steps", "3", "--batch-size", "4", "--test", "20"]
    main(command)
    said = capsys.readouterr().out
    found = re.search(r"^3 steps, \d+\.\d min, error (\d+\.\d\d)% of 20$", said, re.MULTILINE)
    assert found, said
    assert 0 <= float(found[1]) <= 100
    assert round(float(found[1]) * 20) % 100 == 0  # a share of 20 pictures
    run = tmp_path / "out" / "run-0"
    state = torch.load(run / "checkpoint.pt", weights_only=True)["state"]
    assert state["done"] == 3
    assert (run / "backbone.safetensors").exists()
    main(command)  # finished: it only measures again
    assert found[1] in capsys.readouterr().out


def test_the_network_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.5 million weights (1605.07146): 10 · 128 + 10 of them in the classifier, which is ours."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    network = import_module("wide_resnet").wrn_28_2()
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    # 28 layers: 25 of 3×3, 3 shortcuts of 1×1 counted apart, and the classifier
    assert sum(m.kernel_size == (3, 3) for m in convolutions) == 25
    assert sum(m.kernel_size == (1, 1) for m in convolutions) == 3
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert weights + 10 * 128 + 10 == pytest.approx(1.47e6, rel=0.01)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 128)
