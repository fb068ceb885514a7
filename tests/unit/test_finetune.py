"""Fine-tuning at toy size: it learns, and whatever interrupts it, ends where it would have."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import signal
import socket
import time

from finetune_support import (
    LEAVES,
    TREE,
    assert_same,
    received,
    start_finetune,
    tuned,
)
import numpy as np
import pytest
import torch

from atlas.backbone import Backbone
from atlas.errors import Stopped, TrainingError
from atlas.heads import Head
from atlas.images import find_images, open_image
from atlas.losses import encode
from atlas.settings import BackboneSettings, Settings
from atlas.training.finetune.material import FinetuneResult, Material, Progress
from atlas.training.finetune.run import run_finetune
from atlas.types import LABEL

Draw = Callable[..., Path]

# Python 3.12 warns of every fork beside threads; torch's own loader forks, and so do these tests
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
    pytest.mark.usefixtures("one_thread"),
]


def uncertainty(backbone: BackboneSettings, head: Head, pool: Path) -> float:
    """Mean −log P of the true leaf over a pool whose folders are the truth."""
    network, found = Backbone(backbone), find_images(pool)
    pictures = np.stack([network.prepare(open_image(one.location)) for one in found])
    labels = [{LABEL: str(Path(one.name).parent)} for one in found]
    x = head.standardise(torch.from_numpy(network.embed(pictures)).float())
    with torch.no_grad():
        return float(head.losses(x, encode(labels, TREE))[LABEL])


def test_it_learns_from_pixels(
    material: Material, settings: Settings, tmp_path: Path, draw_pool: Draw
) -> None:
    """On pictures it has not seen, it is surer of what is right than the head alone was."""
    pool = draw_pool(tmp_path / "pool", per_leaf=10, seed=5)
    fine = {"steps": 25, "learning_rate": 3e-3, "layer_decay": 0.75}
    chosen = tuned(settings, uda={"weight": 0}, **fine)
    result = run_finetune(material, chosen, folder=tmp_path / "run")
    before = uncertainty(settings.backbone, material.head, pool)
    assert uncertainty(result.backbone, result.head, pool) < before / 2
    assert result.history[-5:, 0].mean() < result.history[:5, 0].mean() / 2
    assert Backbone(result.backbone).fingerprint != Backbone(settings.backbone).fingerprint


def test_the_material_is_left_as_it_was(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in material.head.state_dict().items()}
    state = torch.get_rng_state()
    result = run_finetune(material, tuned(settings, steps=2), folder=tmp_path)
    torch.testing.assert_close(material.head.state_dict(), before, atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(result.head.state_dict()["leaves.weight"], before["leaves.weight"])


def test_progress_says_where_it_is(material: Material, settings: Settings, tmp_path: Path) -> None:
    """Ten steps of 8 of 16 labelled images are five epochs."""
    said: list[Progress] = []
    result = run_finetune(material, tuned(settings), folder=tmp_path, progress=said.append)
    assert [one.step for one in said] == list(range(1, 11))
    assert (said[-1].steps, said[-1].epoch, said[-1].eta_s) == (10, 5.0, 0)
    assert all(one.images_per_s > 0 for one in said)
    assert all(0 <= one.sure <= 1 for one in said)
    told = [(one.supervised, one.consistency, one.sure) for one in said]
    np.testing.assert_array_equal(np.array(told, dtype=np.float32), result.history)
    assert result.history[:, 2].tolist() == [1.0] * 10  # a threshold of 0 takes every image


def test_a_stop_leaves_a_checkpoint_from_which_it_goes_on(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    whole = run_finetune(material, tuned(settings), folder=tmp_path / "whole")
    said: list[int] = []
    run: Callable[..., FinetuneResult] = lambda **more: run_finetune(  # noqa: E731
        material,
        tuned(settings),
        folder=tmp_path / "stopped",
        progress=lambda one: said.append(one.step),
        **more,
    )
    started = time.monotonic()
    with pytest.raises(Stopped, match="stopped after step 4; start it again"):
        run(should_stop=lambda: len(said) == 4)
    assert time.monotonic() - started < 5
    assert_same(run(), whole)
    assert said == list(range(1, 11))
    assert_same(run(), whole)  # finished: nothing is left to do
    assert len(said) == 10


def test_killed_and_started_again_it_ends_as_if_nothing_had_been(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    """SIGKILL after some step; the checkpoint may be older than the last step that was told."""
    chosen = tuned(settings, steps=16, checkpoint_every_s=0.05)
    folder = tmp_path / "killed"
    process, told = start_finetune(material, chosen, folder, {})
    while told.recv() < 5 or not (folder / "checkpoint.pt").exists():
        pass
    process.kill()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert not (folder / "backbone.safetensors").exists()
    resumed: list[Progress] = []
    result = run_finetune(material, chosen, folder=folder, progress=resumed.append)
    assert resumed[0].step > 1
    assert resumed[-1].step == 16
    assert_same(result, run_finetune(material, chosen, folder=tmp_path / "whole"))


def test_parts_of_a_batch_sum_to_the_batch(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    """Some labels are for one task only: what is summed are shares of each task's mean."""
    labels = [
        values if i % 3 else {"side": values["side"]} for i, values in enumerate(material.labels)
    ]
    partial = replace(material, labels=labels)
    at_once = run_finetune(partial, tuned(settings, steps=4), folder=tmp_path / "a")
    in_parts = run_finetune(partial, tuned(settings, steps=4, chunk_size=3), folder=tmp_path / "b")
    assert_same(in_parts, at_once, atol=1e-4)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    """A learning rate so large that the weights overflow after a step or a few."""
    chosen = tuned(settings, learning_rate=1e30, warmup=0.0, checkpoint_every_s=1e-9)
    with pytest.raises(
        TrainingError, match=r"not finite at step \d+; lower finetune.learning_rate"
    ):
        run_finetune(material, chosen, folder=tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert torch.isfinite(state["history"][: state["done"]]).all()


def test_an_image_that_went_missing_stops_it_with_a_checkpoint(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    lost = replace(material, unlabelled=[*material.unlabelled[:-1], "/nowhere/at/all.png"])
    with pytest.raises(TrainingError, match=r"cannot read /nowhere.*put the image back"):
        run_finetune(lost, tuned(settings), folder=tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()


def test_weight_zero_is_plain_fine_tuning(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    """The same weights as without any unlabelled image, and as with ones that cannot be read."""
    plain = tuned(settings, uda={"weight": 0}, steps=3)
    lost = replace(material, unlabelled=["/nowhere/at/all.png"])
    without = replace(material, unlabelled=())
    result = run_finetune(lost, plain, folder=tmp_path / "a")
    assert_same(result, run_finetune(without, tuned(settings, steps=3), folder=tmp_path / "b"))
    assert not result.history[:, 1:].any()


def test_uda_without_unlabelled_images_says_so(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    without = replace(material, unlabelled=())
    result = run_finetune(without, tuned(settings, steps=1), folder=tmp_path)
    assert result.notes == ("no unlabelled image: plain fine-tuning, without UDA",)


def test_a_task_without_labels_is_left_as_it_was(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    labels = [{LABEL: values[LABEL]} for values in material.labels]
    result = run_finetune(
        replace(material, labels=labels),
        tuned(settings, uda={"weight": 0}, steps=3),
        folder=tmp_path,
    )
    before, after = material.head.state_dict(), result.head.state_dict()
    for name in before:
        if "side" in name:
            assert torch.equal(before[name], after[name]), name
    assert len(LEAVES) == len(after["leaves.weight"])


def test_no_labels_are_refused(material: Material, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no labels to train on yet"):
        run_finetune(replace(material, labels=(), labelled=()), tuned(settings), folder=tmp_path)


@pytest.mark.parametrize("annealing", ["off", "linear"])
def test_two_processes_are_one_with_the_whole_batch(
    material: Material, settings: Settings, tmp_path: Path, annealing: str
) -> None:
    """As `torchrun` starts them; each takes half of every batch."""
    chosen, folder = tuned(settings, steps=4, uda={"annealing": annealing}), tmp_path / "two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        start_finetune(material, chosen, folder, {**where, "RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]
    for process, _ in started:
        process.join(60)
    assert [process.exitcode for process, _ in started] == [0, 0]
    assert [received(pipe) for _, pipe in started] == [[1, 2, 3, 4], []]
    alone = run_finetune(material, chosen, folder=tmp_path / "one")
    both = run_finetune(material, chosen, folder=folder)  # finished: it is only read
    assert_same(both, alone, atol=1e-4)
