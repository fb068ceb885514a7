"""UDA from scratch, as in the paper: WRN-28-2 on CIFAR-10 with 4,000 labels.

    python benchmarks/uda_cifar10.py --cifar CIFAR10.zip --out DIR

It wants an NVIDIA GPU: 100,000 steps of 64 + 2 · 448 pictures. A stopped run goes on where it was.
Error in the paper (1904.12848): 5.29% after 400,000 steps; 4.3% by later implementations. Its own
images are PNG, these are JPEG. --steps 3 --batch-size 4 --test 100 shows in a minute, on any
machine, that all parts fit.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import time

from finetune_data import Photos, rows_of
import numpy as np
from safetensors.torch import save_file
import torch
import wide_resnet

from atlas.backbone import Backbone
from atlas.cli.output import progress_bar
from atlas.evaluation import count_correct
from atlas.heads.tree import Tree
from atlas.settings import Settings
from atlas.taxonomy import from_paths
from atlas.training.finetune.material import Material
from atlas.training.finetune.run import run_finetune

LABELS = 4000
L2 = 5e-4


def settings_of(arguments: argparse.Namespace, start: Path) -> Settings:
    """The paper's recipe, with AdamW for its SGD."""
    return Settings.model_validate(
        {
            "seed": arguments.seed,
            "backbone": {"name": "wrn_28_2", "checkpoint": str(start), "batch_size": 512},
            "finetune": {
                "steps": arguments.steps,
                "batch_size": arguments.batch_size,
                "chunk_size": 4096,
                "learning_rate": 2e-3,
                "layer_decay": 1.0,
                "warmup": 0.01,
                "weight_decay": 0.05,
                "batch_norm": "train",
                "augment_ops": 0,
                "workers": arguments.workers,
            },
            "uda": {"ratio": 7, "temperature": 0.4, "threshold": 0.8},
        }
    )


def random_start(folder: Path, seed: int) -> Path:
    """A file of random weights, the same for the same seed."""
    path = folder / f"start-{seed}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_file(wide_resnet.wrn_28_2().state_dict(), path)
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """Print steps, minutes and the error on the test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, required=True, help="a zip with train/ and test/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    train, test = (Photos.under(arguments.cifar / part) for part in ("train", "test"))
    test = test.some(np.random.default_rng(0).permutation(len(test.truth))[: arguments.test])
    chosen = np.random.default_rng(arguments.seed).permutation(len(train.truth))[:LABELS]
    labelled = train.some(chosen)
    settings = settings_of(arguments, random_start(arguments.out, arguments.seed))
    head = Tree(wide_resnet.WideResNet.num_features, from_paths(train.truth), l2=L2)
    with progress_bar("fine-tuning", unit="steps") as advance:
        result = run_finetune(
            Material(head, labelled.locations, labelled.labels(), train.locations),
            settings,
            folder=arguments.out / f"run-{arguments.seed}",
            progress=lambda one: advance(one.step, one.steps),
        )
    minutes = (time.perf_counter() - started) / 60
    counts = count_correct(result.head, rows_of(Backbone(result.backbone), test), test.labels())
    right, n = list(counts.values())[-1]
    print(f"{arguments.steps} steps, {minutes:.1f} min, error {1 - right / n:.2%} of {n}")
    print("\n".join(result.notes))


if __name__ == "__main__":
    main()
