"""A step in parts that fit into memory, and what happens where they do not."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_support import (
    TREE,
    assert_same,
    assert_same_state,
    new_trainer,
    numbers,
    tuned,
)
from hypothesis import given
from hypothesis import strategies as st
import pytest
import torch

from atlas.errors import TrainingError
from atlas.losses import encode
from atlas.settings import Settings
from atlas.training.finetune import learner as learner_module
from atlas.training.finetune.batches import Batch, Share
from atlas.training.finetune.interruption import is_out_of_memory, never
from atlas.training.finetune.learner import Learner
from atlas.training.finetune.material import Material, Progress
from atlas.training.finetune.objective import Part, left_to_learn, split
from atlas.training.finetune.processes import Processes
from atlas.training.finetune.run import run_finetune
from atlas.types import LABEL

pytestmark = pytest.mark.usefixtures("one_thread")


# parts


def pictures(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)


@given(st.integers(0, 40), st.integers(0, 80), st.integers(1, 130))
def test_no_part_is_empty_or_larger_than_a_chunk(labelled: int, others: int, chunk: int) -> None:
    """As few parts as can be, of like size; together they are the batch, in its order."""
    if labelled + others == 0:
        return
    clean = pictures(others)
    batch = Batch(pictures(labelled), clean, clean + 100)
    targets = encode([{LABEL: TREE.leaves[i % 4]} for i in range(labelled)], TREE)
    parts = list(split(batch, targets, chunk))
    sizes = [len(one.batch.labelled) + len(one.batch.augmented) for one in parts]
    assert len(parts) == -(-(labelled + others) // chunk)
    assert max(sizes) <= chunk
    assert max(sizes) - min(sizes) <= 1
    for kind in ("labelled", "clean", "augmented"):
        together = torch.cat([getattr(one.batch, kind) for one in parts])
        assert torch.equal(together, getattr(batch, kind))
    assert torch.equal(torch.cat([one.targets.under for one in parts]), targets.under)
    assert all(len(one.targets) == len(one.batch.labelled) for one in parts)
    assert all(torch.equal(one.batch.clean + 100, one.batch.augmented) for one in parts)


def test_every_part_has_the_mixture_of_the_whole() -> None:
    """32 labelled and 224 others in parts of 64: 8 and 56 in each."""
    batch = Batch(pictures(32), pictures(224), pictures(224))
    targets = encode([{LABEL: TREE.leaves[0]}] * 32, TREE)
    parts = split(batch, targets, 64)
    assert [(len(p.batch.labelled), len(p.batch.clean)) for p in parts] == [(8, 56)] * 4


@pytest.mark.parametrize("chunk", [1, 4])
def test_parts_of_few_pictures_sum_to_the_batch(
    material: Material, settings: Settings, tmp_path: Path, chunk: int
) -> None:
    """2 labelled and 14 others; some labels are for one task only, and parts lack labels."""
    labels = [
        values if i % 3 else {"side": values["side"]} for i, values in enumerate(material.labels)
    ]
    partial = replace(material, labels=labels)
    toy: dict[str, Any] = {"steps": 2, "batch_size": 2, "uda": {"ratio": 7}}
    at_once = run_finetune(partial, tuned(settings, **toy), folder=tmp_path / "a")
    chosen = tuned(settings, chunk_size=chunk, **toy)
    assert_same(run_finetune(partial, chosen, folder=tmp_path / "b"), at_once, atol=1e-4)


def test_parts_of_an_annealed_batch_sum_to_the_batch(
    material: Material, settings: Settings
) -> None:
    """Means are over the labels left of the whole batch, in some parts more than in others."""
    toy: dict[str, Any] = {"steps": 10, "uda": {"annealing": "linear"}}
    losses, gradients = [], []
    for chunk in (16, 8, 3, 1):
        trainer = new_trainer(blurred(material), tuned(settings, chunk_size=chunk, **toy), alone())
        trainer.done = 3
        losses.append(trainer._gradients(trainer.batches[3], never))
        given = [p.grad.flatten() for p in trainer.parameters if p.grad is not None]
        gradients.append(torch.cat(given))
    for found, gradient in zip(losses[1:], gradients[1:], strict=True):
        torch.testing.assert_close(found, losses[0], atol=1e-5, rtol=1e-5)
        assert float((gradient - gradients[0]).norm() / gradients[0].norm()) < 1e-5


@pytest.mark.parametrize("chunk", [3, 8])
def test_to_look_which_labels_are_left_leaves_no_trace(
    material: Material, settings: Settings, chunk: int
) -> None:
    chosen = tuned(settings, batch_norm="train", uda={"annealing": "linear"})
    trainer = new_trainer(blurred(material), chosen, alone())
    batch, targets = trainer.batches[3], trainer.targets[torch.from_numpy(trainer.batches.rows(3))]
    before = numbers(trainer.state())
    left = left_to_learn(trainer.learner, Part(batch, targets), chosen.uda, 0.3, chunk)
    assert_same_state(numbers(trainer.state()), before)
    assert 0 < int(left.labelled(LABEL).sum()) < 8


def alone() -> Processes:
    return Processes(Share())


def blurred(material: Material) -> Material:
    """With a head that is not sure of every label any more."""
    head = deepcopy(material.head)
    with torch.no_grad():
        head.get_parameter("leaves.weight").mul_(0.2)
        head.get_parameter("extra.side.weight").mul_(0.2)
    return replace(material, head=head)


# memory


def gpu_says_no() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory (as a test says)")


def cpu_says_no() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)  # more than there are addresses


@pytest.fixture(params=[gpu_says_no, cpu_says_no])
def say_no(request: pytest.FixtureRequest) -> Callable[[], None]:
    """What torch raises where memory runs out: the CPU's own, and one in place of a GPU's."""
    chosen: Callable[[], None] = request.param
    return chosen


def test_out_of_memory_halves_what_goes_through_at_once(
    material: Material,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    say_no: Callable[[], None],
) -> None:
    """No test may fill the memory of the machine it runs on, so a hook says that it is full.

    It does where more than five pictures go through the network: 16 → 8 → 4.
    """

    def too_large(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > 5:
            say_no()

    class Small(Learner):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            self.network.register_forward_pre_hook(too_large)

    chosen = tuned(settings, steps=3)
    whole = run_finetune(material, chosen, folder=tmp_path / "whole")
    monkeypatch.setattr("atlas.training.finetune.run.Learner", Small)
    said: list[Progress] = []
    result = run_finetune(material, chosen, folder=tmp_path / "small", progress=said.append)
    assert result.notes == (
        "out of memory at step 1: 16 images a forward halved to 8, gradients accumulated over "
        "2 forwards",
        "out of memory at step 1: 8 images a forward halved to 4, gradients accumulated over "
        "4 forwards",
    )
    assert said[0].notes == result.notes
    assert_same(result, whole, atol=1e-4)


def test_too_little_memory_for_one_image_says_what_to_change(
    material: Material,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    say_no: Callable[[], None],
) -> None:
    monkeypatch.setattr(learner_module.Learner, "forward", lambda *_: say_no())
    with pytest.raises(TrainingError, match=r"a single image .*finetune.unfreeze_from"):
        run_finetune(material, tuned(settings), folder=tmp_path)


def test_too_little_memory_for_the_optimiser_says_what_to_change(
    material: Material,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    say_no: Callable[[], None],
) -> None:
    """It makes room at its first step, where it may have moved some weights: nothing is saved."""
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: say_no())
    with pytest.raises(TrainingError, match=r"the optimiser remembers.*finetune.unfreeze_from"):
        run_finetune(material, tuned(settings, checkpoint_every_s=1e-9), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_error_of_torch_is_not_taken_for_a_full_memory(
    material: Material, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        torch.zeros(2) @ torch.zeros(3)

    monkeypatch.setattr(learner_module.Learner, "forward", broken)
    with pytest.raises(RuntimeError, match="inconsistent tensor size") as found:
        run_finetune(material, tuned(settings), folder=tmp_path)
    assert not is_out_of_memory(found.value)


class Unlucky(Processes):
    """Two processes seen from one of them; the other runs out of memory the first time."""

    def __init__(self) -> None:
        super().__init__(Share())
        self.asked = 0

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        self.asked += 1
        return [flag or self.asked == 1 for flag in flags]


def test_who_did_not_run_out_of_memory_repeats_the_step_as_if_it_had(
    material: Material, settings: Settings
) -> None:
    """Running statistics move once, as where parts are of 8 from the start."""
    chosen = tuned(settings, batch_norm="train", chunk_size=16)
    halved = new_trainer(material, chosen, Unlucky())
    small = new_trainer(
        material, tuned(settings, batch_norm="train", chunk_size=8), Processes(Share())
    )
    for trainer in (halved, small):
        trainer.step(trainer.batches[0], never)
    assert halved.chunk == small.chunk == 8
    assert_same_state(numbers(halved.state()), numbers(small.state()))
