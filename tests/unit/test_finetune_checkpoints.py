"""Checkpoints: kept whole, refused by another fine-tune, known again elsewhere."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from finetune_support import tuned
import pytest
import torch

from atlas.backbone import Backbone
from atlas.errors import DiskFull, TrainingError
from atlas.settings import HeadSettings, Settings
from atlas.training.finetune.checkpoint import load_checkpoint, save_checkpoint
from atlas.training.finetune.material import Material, identity


@pytest.fixture(scope="module")
def backbone(settings: Settings) -> Backbone:
    return Backbone(settings.backbone)


def test_a_checkpoint_of_another_fine_tune_is_refused(
    tmp_path: Path, material: Material, settings: Settings, backbone: Backbone
) -> None:
    chosen = tuned(settings)
    mine = identity(material, chosen, backbone)
    assert load_checkpoint(tmp_path, mine) is None
    save_checkpoint(tmp_path, {"done": 3}, mine)
    assert load_checkpoint(tmp_path, mine) == {"done": 3}
    others = {
        "settings": (material, tuned(settings, learning_rate=0.5)),
        "labels": (replace(material, labels=material.labels[::-1]), chosen),
        "unlabelled images": (replace(material, unlabelled=material.unlabelled[1:]), chosen),
        "head": (material, chosen.model_copy(update={"head": HeadSettings(args={"l2": 0.3})})),
    }
    for changed, (what, how) in others.items():
        with pytest.raises(TrainingError, match=rf"made with other {changed}; put them back"):
            load_checkpoint(tmp_path, identity(what, how, backbone))
    same = tuned(settings, workers=3, chunk_size=2, checkpoint_every_s=9.0)
    assert identity(material, same, backbone) == mine


def test_a_checkpoint_is_known_on_another_processor_and_in_another_place(
    material: Material, settings: Settings, backbone: Backbone
) -> None:
    """There the head's weights are rounded otherwise; moved images are known by their bytes."""
    here, there = (
        replace(
            material,
            labelled=[f"{folder}/{i}.png" for i in range(2)],
            unlabelled=[f"{folder}/2.png"],
            labels=material.labels[:2],
            content={f"{folder}/{i}.png": f"{i:064x}" for i in range(3)},
        )
        for folder in ("/here", "/there")
    )
    rounded = deepcopy(material.head)
    with torch.no_grad():
        rounded.get_parameter("leaves.weight").mul_(1 + 1e-6)
    mine = identity(here, settings, backbone)
    assert identity(replace(there, head=rounded), settings, backbone) == mine
    other = replace(there, content={**there.content, "/there/2.png": "f" * 64})
    found = identity(other, settings, backbone)
    assert {name for name in mine if mine[name] != found[name]} == {"unlabelled images"}


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"weights": torch.zeros(1000)}, {})
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(TrainingError, match=r"is damaged .*finetune --anew"):
        load_checkpoint(tmp_path, {})


def test_a_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    """What fails in the writing leaves the old one, and no scraps."""
    save_checkpoint(tmp_path, {"done": 1}, {})
    with pytest.raises(AttributeError):  # a local function cannot be written
        save_checkpoint(tmp_path, {"done": lambda: 2}, {})
    assert load_checkpoint(tmp_path, {}) == {"done": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_keeps_the_checkpoint_from_before(small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(64)
    save_checkpoint(folder, {"done": 1}, {})
    with pytest.raises(DiskFull, match="free some room and repeat"):
        save_checkpoint(folder, {"weights": torch.zeros(100_000)}, {})
    assert load_checkpoint(folder, {}) == {"done": 1}
    assert [file.name for file in folder.iterdir()] == ["checkpoint.pt"]
