"""What the tests of fine-tuning share: a toy material, and a fine-tune as a process of its own."""

from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
import torch

from atlas.backbone import Backbone
from atlas.images import find_images, open_image
from atlas.losses import encode
from atlas.settings import BackboneSettings, Settings
from atlas.taxonomy import Taxonomy
from atlas.training.finetune.batches import Batches, Share
from atlas.training.finetune.learner import Learner
from atlas.training.finetune.material import FinetuneResult, Material
from atlas.training.finetune.processes import Processes
from atlas.training.finetune.run import run_finetune, take_part
from atlas.training.finetune.trainer import Trainer
from atlas.training.fit_heads import fit_head, moments
from atlas.types import LABEL

LEAVES = ("angular/box", "angular/cross", "round/ball", "round/ring")
TREE = Taxonomy(("family", "shape"), LEAVES, {"side": ("sharp", "soft")})


def toy_material(pool: Path, backbone: BackboneSettings, *, per_leaf: int = 4) -> Material:
    """Of the forty pictures, `per_leaf` a leaf are labelled; the head is trained on them."""
    found = find_images(pool)
    leaf_of = {one.location: str(Path(one.name).parent) for one in found}
    labelled = [
        location
        for leaf in LEAVES
        for location in [at for at, what in leaf_of.items() if what == leaf][:per_leaf]
    ]
    labels = [
        {LABEL: leaf_of[at], "side": "soft" if leaf_of[at].startswith("round") else "sharp"}
        for at in labelled
    ]
    network = Backbone(backbone)
    rows = network.embed(np.stack([network.prepare(open_image(at)) for at in labelled]))
    head = fit_head(
        rows,
        labels,
        taxonomy=TREE,
        settings=Settings().head,
        pool_moments=moments(rows),
        rng=np.random.default_rng(0),
    ).head
    return Material(head, labelled, labels, [at for at in leaf_of if at not in set(labelled)])


def tuned(settings: Settings, *, uda: Mapping[str, Any] | None = None, **finetune: Any) -> Settings:
    """Settings of a fine-tune that takes a second: ten steps of 8 + 8 pictures, no workers."""
    toy = {"steps": 10, "batch_size": 8, "workers": 0, "ema_decay": 0.5, "batch_norm": "frozen"}
    return Settings.model_validate(
        {
            **settings.model_dump(),
            "finetune": {**toy, **finetune},
            "uda": {"ratio": 1, "threshold": 0.0, **(uda or {})},
        }
    )


def weights(result: FinetuneResult) -> dict[str, torch.Tensor]:
    """All that was trained: the network's, and the head's under `head.`."""
    network = load_file(result.backbone.checkpoint)
    return {**network, **{f"head.{k}": v for k, v in result.head.state_dict().items()}}


def assert_same(one: FinetuneResult, other: FinetuneResult, *, atol: float = 1e-6) -> None:
    """The same weights and the same history, to rounding."""
    torch.testing.assert_close(weights(one), weights(other), atol=atol, rtol=1e-4)
    np.testing.assert_allclose(one.history, other.history, atol=max(atol, 1e-5), rtol=1e-3)


def new_trainer(material: Material, settings: Settings, processes: Processes) -> Trainer:
    """As `run_finetune` makes it."""
    backbone = Backbone(settings.backbone)
    return Trainer(
        Learner(backbone, material.head, settings.finetune),
        encode(material.labels, TREE),
        Batches(material, settings, backbone, Share()),
        settings,
        processes,
    )


def numbers(state: Any) -> list[torch.Tensor]:
    """All tensors of a trainer's state, copied, in an order of its own."""
    if isinstance(state, torch.Tensor):
        return [state.clone()]
    inside = state.values() if isinstance(state, dict) else state
    held = [one for one in inside if isinstance(one, dict | list | tuple | torch.Tensor)]
    return [tensor for one in held for tensor in numbers(one)]


def assert_same_state(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> None:
    """The same bits."""
    torch.testing.assert_close(list(one), list(other), atol=0, rtol=0, equal_nan=True)


def start_finetune(
    material: Material, settings: Settings, folder: Path, environment: Mapping[str, str]
) -> tuple[BaseProcess, Connection]:
    """A fine-tune in a process of its own; through the pipe come the steps it has done.

    Forked, since a new interpreter would import torch for longer than all the tests take.
    """
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)

    def run() -> None:
        here.close()
        os.environ.update(environment)
        torch.set_num_threads(1)  # the parent's other threads are not there any more
        if environment.get("RANK", "0") == "0":
            run_finetune(
                material, settings, folder=folder, progress=lambda one: there.send(one.step)
            )
        else:
            take_part(settings.backbone)

    process = context.Process(target=run)
    process.start()
    there.close()
    return process, here


def received(pipe: Connection) -> list[int]:
    """All that came through the pipe of a process that has ended."""
    found = []
    while pipe.poll():  # true at the end as well
        try:
            found.append(pipe.recv())
        except EOFError:
            break
    return found
