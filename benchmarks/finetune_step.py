"""Seconds of a fine-tuning step beside a bare PyTorch loop of the same forwards.

    python benchmarks/finetune_step.py --checkpoint FILE --arch regnetx_002 --image-size 64

Both take the same batch in memory: the clean pictures without gradient, labelled and augmented ones
with, backward, AdamW. What Atlas adds is the moving average, clipping, the head's losses by task,
schedule and history. Steps of the two take turns, so that both have the same machine.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
import time

from safetensors.torch import load_file
import timm
import torch
from torch import nn
from torch.nn import functional as F

from atlas.backbone import Backbone
from atlas.heads.tree import Tree
from atlas.losses import encode
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy
from atlas.training.finetune.batches import Batch, Batches, Share
from atlas.training.finetune.interruption import never
from atlas.training.finetune.learner import Learner
from atlas.training.finetune.material import Material
from atlas.training.finetune.processes import Processes
from atlas.training.finetune.trainer import Trainer
from atlas.types import LABEL

TREE = Taxonomy(("kind", "species"), tuple(f"{a}/{b}" for a in "ab" for b in "cdefg"), {})


def bare_step(arguments: argparse.Namespace, batch: Batch) -> Callable[[], None]:
    """A loop as one would write it for this purpose alone."""
    network = timm.create_model(arguments.arch, num_classes=len(TREE.leaves))
    state = load_file(arguments.checkpoint)
    network.load_state_dict({k: v for k, v in state.items() if "head" not in k}, strict=False)
    network.to(memory_format=torch.channels_last)
    for module in network.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
    target = torch.arange(len(batch.labelled)) % len(TREE.leaves)

    def seen(pixels: torch.Tensor) -> torch.Tensor:
        scaled = (pixels.permute(0, 3, 1, 2).float() - 118) / 58
        return scaled.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        with torch.no_grad():
            clean = network(seen(batch.clean))
        both = network(seen(torch.cat([batch.labelled, batch.augmented])))
        labelled, augmented = both.tensor_split([len(target)])
        wanted = F.softmax(clean / 0.4, dim=1)
        unsupervised = F.kl_div(F.log_softmax(augmented, 1), wanted, reduction="batchmean")
        loss = F.cross_entropy(labelled, target) + unsupervised
        loss.backward()
        optimizer.step()

    return step


def atlas_step(arguments: argparse.Namespace, batch: Batch) -> Callable[[], None]:
    """The same batch through Atlas's trainer."""
    settings = Settings.model_validate(
        {
            "backbone": {
                "name": arguments.arch,
                "checkpoint": str(arguments.checkpoint),
                "image_size": arguments.image_size,
                "device": "cpu",
            },
            "finetune": {"steps": 10_000, "batch_size": len(batch.labelled), "chunk_size": 4096},
        }
    )
    backbone = Backbone(settings.backbone)
    count = len(batch.labelled)
    labels = [{LABEL: TREE.leaves[i % len(TREE.leaves)]} for i in range(count)]
    head = Tree(backbone.features, TREE)
    material = Material(head, ["never read"] * count, labels, ["never read"])
    learner = Learner(backbone, head, settings.finetune)
    batches = Batches(material, settings, backbone, Share())
    trainer = Trainer(learner, encode(labels, TREE), batches, settings, Processes(Share()))
    return lambda: trainer.step(batch, never)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the fastest step of each, and what Atlas adds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--ratio", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args(argv)
    side, count = arguments.image_size, arguments.batch_size

    def pictures(number: int) -> torch.Tensor:
        return torch.randint(0, 256, (number, side, side, 3), dtype=torch.uint8)

    others = count * arguments.ratio
    batch = Batch(pictures(count), pictures(others), pictures(others))
    steps = {"bare": bare_step(arguments, batch), "atlas": atlas_step(arguments, batch)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.steps + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    fastest = {name: min(values) for name, values in seconds.items()}  # others only slow it down
    print(", ".join(f"{name} {value:.4f} s" for name, value in fastest.items()))
    print(f"Atlas adds {fastest['atlas'] / fastest['bare'] - 1:.1%}")


if __name__ == "__main__":
    main()
