"""The pretraining recipe learns, writes weights that timm loads, and the shipped ones fit too."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from timm import create_model
import torch

from atlas.demo import pretrain
from atlas.demo.augment import vary
from atlas.demo.pretrain import QUICK, pretrain_demo

SHIPPED = Path(pretrain.__file__).parent


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("pretrained")
    return out, pretrain_demo(out, quick=True)


def load(folder: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    facts = json.loads((folder / "backbone.json").read_text())
    model = create_model(facts["arch"], pretrained=False, num_classes=0)
    weights = load_file(folder / "backbone.safetensors")
    assert {value.dtype for name, value in weights.items() if "num_batches" not in name} == {
        torch.float16
    }
    model.load_state_dict(weights)  # strict: every key there, none left over
    return model.eval(), facts


def test_a_few_steps_bring_the_loss_down(quick: tuple[Path, dict[str, Any]]) -> None:
    losses = quick[1]["loss_by_epoch"]
    assert len(losses) == QUICK.epochs
    assert losses[-1] < losses[0] - 0.5


def test_quick_weights_load_back_and_the_record_is_whole(
    quick: tuple[Path, dict[str, Any]],
) -> None:
    model, facts = load(quick[0])
    assert facts == quick[1]
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, facts["features"])
    assert facts["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert set(facts["source_accuracy"]) == {"things", "valves"}


def test_pretraining_leaves_the_callers_torch_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(11)
    threads, expected = torch.get_num_threads(), torch.rand(3)
    torch.manual_seed(11)
    pretrain_demo(tmp_path, settings=pretrain.PretrainSettings(**{**vars(QUICK), "epochs": 1}))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(3), expected)


def test_shipped_weights_are_small_and_load() -> None:
    model, facts = load(SHIPPED)
    assert (SHIPPED / "backbone.safetensors").stat().st_size <= 2.5e6
    assert facts["parameters"] < 1_000_000
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 256, (2, 3, 64, 64), dtype=np.uint8))
    with torch.no_grad():
        features = model(pictures.float() / 255)
    assert features.shape == (2, facts["features"])
    assert torch.isfinite(features).all()
    assert not torch.allclose(features[0], features[1])


def test_variation_keeps_events_upright_and_says_which_picture_is_which() -> None:
    torch.manual_seed(0)
    rows = torch.arange(64, dtype=torch.uint8).view(1, 1, 64, 1).expand(6, 4, 64, 64).contiguous()
    is_thing = torch.tensor([True, False, True, False, True, False])
    varied = vary(rows, is_thing)
    assert varied.order.tolist() == [0, 2, 4, 1, 3, 5]
    assert varied.pictures.shape == (6, 3, 64, 64)
    assert varied.outlines.shape == (6, 1, 64, 64)
    # Frequencies lie on rows: a shift in time leaves a picture of constant rows as it was.
    assert torch.equal(varied.pictures[3:], rows[:3, :3])
    assert varied.faithful[3:].all()
