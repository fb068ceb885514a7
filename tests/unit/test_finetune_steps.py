"""A step: stopped half-way, with a task that nobody has labelled, and in which precision."""

from dataclasses import replace
from pathlib import Path

from finetune_support import (
    TREE,
    assert_same,
    assert_same_state,
    new_trainer,
    numbers,
    tuned,
    weights,
)
import pytest
import torch

from atlas.backbone import Backbone
from atlas.errors import Stopped
from atlas.heads.shared_trunk import SharedTrunk
from atlas.settings import Settings
from atlas.training.finetune.batches import Batches, Share
from atlas.training.finetune.interruption import never
from atlas.training.finetune.learner import has_bfloat16
from atlas.training.finetune.material import Material
from atlas.training.finetune.processes import Processes
from atlas.training.finetune.run import run_finetune
from atlas.types import LABEL

pytestmark = pytest.mark.usefixtures("one_thread")


# a stop


class Asked:
    """Says yes the n-th time it is asked, and from then on."""

    def __init__(self, at: int) -> None:
        self.at, self.times = at, 0

    def __call__(self) -> bool:
        self.times += 1
        return self.times >= self.at


def test_a_step_asks_at_every_layer_on_the_way_there_and_back(
    material: Material, settings: Settings
) -> None:
    """All sixteen pictures at once: two forwards, clean and with gradient, and a backward."""
    trainer = new_trainer(material, tuned(settings), Processes(Share()))
    counted = Asked(10**9)
    trainer.step(trainer.batches[0], counted)
    layers = {name.rpartition(".")[0] for name, _ in trainer.learner.network.named_parameters()}
    assert len(layers) > 10
    assert counted.times == 3 * len(layers)


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_a_stop_within_a_step_takes_it_back(
    material: Material, settings: Settings, batch_norm: str
) -> None:
    """Wherever it comes, on the way there or back, the next try is as if it were the first."""
    chosen = tuned(settings, batch_norm=batch_norm)
    trainer, twin = (new_trainer(material, chosen, Processes(Share())) for _ in range(2))
    counted = Asked(10**9)
    for step in range(2):
        twin.step(twin.batches[step], counted)
    before = numbers(trainer.state())
    for at in range(1, counted.times // 2 + 1, 17):
        with pytest.raises(Stopped):
            trainer.step(trainer.batches[0], Asked(at))
        assert_same_state(numbers(trainer.state()), before)
        assert all(parameter.grad is None for parameter in trainer.parameters)
    for step in range(2):
        trainer.step(trainer.batches[step], never)
    assert_same_state(numbers(trainer.state()), numbers(twin.state()))


def test_a_fine_tune_stopped_within_a_step_goes_on(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    """Asked once before the first step; the fourth time is in its middle."""
    chosen = tuned(settings, steps=3)
    whole = run_finetune(material, chosen, folder=tmp_path / "whole")
    with pytest.raises(Stopped, match="after step 0"):
        run_finetune(material, chosen, folder=tmp_path / "a", should_stop=Asked(4))
    assert (tmp_path / "a" / "checkpoint.pt").exists()
    assert_same(run_finetune(material, chosen, folder=tmp_path / "a"), whole, atol=0)


# a task that nobody has labelled


def trunk(seed: int, features: int) -> SharedTrunk:
    """Random, and the layer of `side` by dice of its own."""
    head = SharedTrunk(features, TREE)
    layer = head.get_submodule("tasks.side")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(seed))
    return head


def test_a_task_without_any_label_teaches_the_network_nothing(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    """Whatever its layer says of unlabelled images, all others end with the same bits."""
    labels = [{LABEL: values[LABEL]} for values in material.labels]
    found = []
    for seed in (1, 2):
        head = trunk(seed, material.head.features)
        unlabelled = replace(material, head=head, labels=labels)
        result = run_finetune(unlabelled, tuned(settings, steps=3), folder=tmp_path / str(seed))
        found.append(weights(result))
        for name, value in head.state_dict().items():
            same = torch.equal(found[-1][f"head.{name}"], value)
            assert same == (not name.startswith(("trunk", "tasks.family", "tasks.shape"))), name
        assert result.history[:, 2].tolist() == [1.0] * 3  # over the tasks that there are
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value) == ("side" not in name), name


def test_a_task_with_a_label_elsewhere_is_made_consistent(
    material: Material, settings: Settings, tmp_path: Path
) -> None:
    """One image has a label for it, which is not in the first batch."""
    chosen = tuned(settings, steps=1)
    batches = Batches(material, chosen, Backbone(settings.backbone), Share())
    lucky = min(set(range(len(material.labels))) - set(batches.rows(0).tolist()))
    labels = [
        values if i == lucky else {LABEL: values[LABEL]} for i, values in enumerate(material.labels)
    ]
    head = trunk(1, material.head.features)
    result = run_finetune(replace(material, head=head, labels=labels), chosen, folder=tmp_path)
    before, after = head.state_dict(), result.head.state_dict()
    assert not torch.equal(before["tasks.side.weight"], after["tasks.side.weight"])


# precision


def test_bfloat16_is_for_gpus_that_compute_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch counts those as well that emulate it, such as a T4, unless it is told not to."""

    def of_a_t4(including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", of_a_t4)
    assert not has_bfloat16(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert has_bfloat16(torch.device("cuda"))
    assert not has_bfloat16(torch.device("cpu"))
