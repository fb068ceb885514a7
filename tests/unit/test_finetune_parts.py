"""The parts of fine-tuning: batches, learning rates, what is frozen, sums over processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_support import toy_material, tuned
import numpy as np
import pytest
from timm.utils import ModelEmaV3
import torch
from torch import distributed

from atlas.backbone import Backbone
from atlas.errors import SettingsError
from atlas.images import open_image
from atlas.settings import Settings
from atlas.training.finetune.average import MovingAverage
from atlas.training.finetune.batches import Batches, Share
from atlas.training.finetune.learner import Learner, new_optimizer, new_schedule
from atlas.training.finetune.material import Material
from atlas.training.finetune.processes import Processes
from atlas.training.finetune.stream import stream_batches

# Python 3.12 warns of every fork beside threads; torch's own loader forks, and so do these tests
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@pytest.fixture(scope="module")
def backbone(settings: Settings) -> Backbone:
    return Backbone(settings.backbone)


@pytest.fixture(scope="module")
def material(tiny_pool: Path, settings: Settings) -> Material:
    return toy_material(tiny_pool, settings.backbone)


def fresh(settings: Settings, material: Material, **finetune: Any) -> Learner:
    chosen = tuned(settings, **finetune)
    return Learner(Backbone(chosen.backbone), material.head, chosen.finetune)


# batches


def test_a_batch_is_a_function_of_the_step(
    material: Material, settings: Settings, backbone: Backbone
) -> None:
    """Whatever was made before it, in whichever process, whatever torch's own dice say."""
    chosen = tuned(settings)
    batches = Batches(material, chosen, backbone, Share())
    torch.manual_seed(7)
    before = torch.get_rng_state()
    fifth = batches[4]
    assert torch.equal(torch.get_rng_state(), before)
    again = Batches(material, chosen, backbone, Share())
    stream = stream_batches(again, range(2, 6), workers=2, pin=False)
    made = [batch for batch in stream if batch is not None]
    for one, other in zip(fifth[:3], made[2][:3], strict=True):
        assert one.shape == (8, 32, 32, 3)
        assert torch.equal(one, other)
    assert not torch.equal(fifth.augmented, batches[5].augmented)
    other_seed = Batches(material, chosen.model_copy(update={"seed": 1}), backbone, Share())
    assert not torch.equal(fifth.labelled, other_seed[4].labelled)


def test_every_epoch_holds_every_image_once(
    material: Material, settings: Settings, backbone: Backbone
) -> None:
    """Sixteen labelled images in batches of 12: four batches are three epochs."""
    batches = Batches(material, tuned(settings, batch_size=12), backbone, Share())
    rows = np.concatenate([batches.rows(step) for step in range(4)])
    for epoch in rows.reshape(3, 16):
        assert sorted(epoch) == list(range(16))
    assert rows[:16].tolist() != rows[16:32].tolist()


def test_the_shares_of_all_processes_make_the_batch(
    material: Material, settings: Settings, backbone: Backbone
) -> None:
    """Seven images for three processes: 2, 2 and 3, with the augmentation of the whole batch."""
    chosen = tuned(settings, batch_size=7)
    whole = Batches(material, chosen, backbone, Share())
    parts = [Batches(material, chosen, backbone, Share(rank, 3)) for rank in range(3)]
    made = [part[1] for part in parts]
    assert [len(batch.labelled) for batch in made] == [2, 2, 3]
    assert torch.equal(whole[1].labelled, torch.cat([batch.labelled for batch in made]))
    assert torch.equal(whole[1].clean, torch.cat([batch.clean for batch in made]))
    assert torch.equal(whole[1].augmented, torch.cat([batch.augmented for batch in made]))
    rows = [whole.rows(1, part.share).tolist() for part in parts]
    assert sum(rows, []) == whole.rows(1).tolist()


def test_a_batch_too_small_for_the_processes_says_so(
    material: Material, settings: Settings, backbone: Backbone
) -> None:
    with pytest.raises(SettingsError, match="batch_size = 8 cannot be shared by 9 processes"):
        Batches(material, tuned(settings), backbone, Share(0, 9))


def test_clean_is_what_the_backbone_embeds(
    material: Material, settings: Settings, backbone: Backbone
) -> None:
    plain = tuned(settings, uda={"augment_ops": 0}, augment_ops=0, shift=0.0, flip=False)
    batches = Batches(material, plain, backbone, Share())
    batch = batches[0]
    for picture, row in zip(batch.labelled, batches.rows(0), strict=True):
        assert (picture.numpy() == backbone.prepare(open_image(material.labelled[row]))).all()
    assert torch.equal(batch.clean, batch.augmented)
    varied = Batches(material, tuned(settings), backbone, Share())[0]
    changed = (varied.clean != varied.augmented).flatten(1).any(dim=1)
    assert changed.sum() >= 6


def test_weight_zero_looks_at_no_unlabelled_image(
    material: Material, settings: Settings, backbone: Backbone
) -> None:
    """The location leads nowhere; with a weight it is an error that names it."""
    lost = replace(material, unlabelled=["/nowhere/at/all.png"])
    batch = Batches(lost, tuned(settings, uda={"weight": 0}), backbone, Share())[0]
    assert (batch.error, len(batch.labelled), len(batch.clean)) == ("", 8, 0)
    batch = Batches(lost, tuned(settings), backbone, Share())[0]
    assert "cannot read /nowhere/at/all.png" in batch.error
    assert len(batch.labelled) == len(batch.augmented) == 0


# learning rates and freezing


def test_every_group_has_its_share_of_the_learning_rate(
    settings: Settings, material: Material
) -> None:
    """d^(L − i); after a step of the schedule base · scale, which torch's own would not give."""
    learner = fresh(settings, material, layer_decay=0.5, learning_rate=0.1, warmup=0.2)
    optimizer = new_optimizer(learner)
    scale_of = {
        id(parameter): group["lr_scale"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    layers = ["conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0"]  # the stem, four blocks
    for name, parameter in learner.network.named_parameters():
        depth = next((i for i, layer in enumerate(layers) if name.startswith(layer)), 0)
        assert scale_of[id(parameter)] == 0.5 ** (len(layers) - depth), name
    assert all(scale_of[id(parameter)] == 1 for parameter in learner.head.parameters())
    schedule = new_schedule(optimizer, learner.settings)
    # ten steps, two of them warm-up: 1/3 and 2/3, then the cosine at 2/10 and 5/10
    cosine = [(1 + np.cos(np.pi * share)) / 2 for share in (0.2, 0.5)]
    for step, base in [(0, 0.1 / 3), (1, 0.2 / 3), (2, 0.1 * cosine[0]), (5, 0.1 * cosine[1])]:
        schedule.step(step)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(base * group["lr_scale"])


def test_biases_norms_and_the_head_do_not_decay(settings: Settings, material: Material) -> None:
    learner = fresh(settings, material, weight_decay=0.3)
    decays = {
        id(parameter): group["weight_decay"]
        for group in new_optimizer(learner).param_groups
        for parameter in group["params"]
    }
    assert len(decays) == len(list(learner.parameters()))
    for parameter in learner.network.parameters():
        assert decays[id(parameter)] == (0.3 if parameter.ndim > 1 else 0)
    assert all(decays[id(parameter)] == 0 for parameter in learner.head.parameters())


def test_layers_before_the_one_named_are_frozen(settings: Settings, material: Material) -> None:
    fine = {"unfreeze_from": "layer3", "batch_norm": "train", "layer_decay": 0.75}
    learner = fresh(settings, material, **fine).train()
    for name, parameter in learner.network.named_parameters():
        assert parameter.requires_grad == name.startswith(("layer3", "layer4")), name
    norms = {
        name: module.training
        for name, module in learner.network.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert norms == {name: name.startswith(("layer3", "layer4")) for name in norms}
    scales = {group["lr_scale"] for group in new_optimizer(learner).param_groups}
    assert scales == {0.75**2, 0.75, 1}  # as they would be without freezing


def test_a_layer_that_is_not_there_is_named_with_those_that_are(
    settings: Settings, material: Material
) -> None:
    with pytest.raises(SettingsError, match=r"'layer' is no layer .*layer1\.0\.conv1"):
        fresh(settings, material, unfreeze_from="layer")


def test_frozen_statistics_stay_and_trained_ones_move(
    settings: Settings, material: Material
) -> None:
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    for policy, moves in (("frozen", False), ("train", True)):
        learner = fresh(settings, material, batch_norm=policy).train()
        before = {name: value.clone() for name, value in learner.network.named_buffers()}
        learner(pixels).sum().backward()
        after = dict(learner.network.named_buffers())
        assert any(not torch.equal(after[name], value) for name, value in before.items()) == moves
        norm = next(m for m in learner.network.modules() if isinstance(m, torch.nn.BatchNorm2d))
        assert norm.weight.grad is not None


def test_the_learner_sees_what_the_backbone_embeds(
    settings: Settings, material: Material, backbone: Backbone
) -> None:
    learner = fresh(settings, material).eval()
    pixels = np.stack([backbone.prepare(open_image(at)) for at in material.labelled[:3]])
    wanted = learner.head.standardise(torch.from_numpy(backbone.embed(pixels)).float())
    found = learner(torch.from_numpy(pixels))
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=1e-2)  # the cache is float16


# sums over processes


def test_a_summed_gradient_lies_in_memory_as_its_parameter_does() -> None:
    """The fused AdamW goes through both as they lie, and would mix up weights without a word."""
    weight = torch.nn.Parameter(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last))
    weight.grad = torch.rand(2, 3, 4, 4)
    before = weight.grad.clone()
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        Processes(Share(0, 2)).sum_gradients([weight])  # the other one does not show up
    finally:
        distributed.destroy_process_group()
    assert torch.equal(weight.grad, before)
    assert weight.grad.stride() == weight.stride()


# the moving average


def test_the_moving_average_is_timms(settings: Settings, material: Material) -> None:
    """Of weights and statistics; counts are copied."""
    learner = fresh(settings, material)
    ours = MovingAverage(learner, 0.5)
    theirs = ModelEmaV3(learner, decay=0.5, use_warmup=True)
    state = learner.state_dict()
    for step in range(1, 6):
        for value in state.values():
            value += torch.randn_like(value) if value.is_floating_point() else step
        ours.update(step)
        theirs.update(learner, step=step)
        torch.testing.assert_close(ours.module.state_dict(), theirs.module.state_dict())
    name = "head.leaves.weight"
    assert not torch.equal(ours.module.state_dict()[name], state[name])
