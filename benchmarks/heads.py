"""Seconds to refit each head, out-of-fold predictions and temperature included.

    python benchmarks/heads.py --labels 2000 --features 368
    python benchmarks/heads.py --checkpoint FILE --arch regnetx_002 --image-size 64

Beside them the seconds that a frozen backbone needs for the same number of images: the project's
default one with random weights, which are as fast as any, and the one that is named.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
import tempfile
import time

import numpy as np
from safetensors.torch import save_file
import timm

from atlas import plugins
from atlas.backbone import Backbone
from atlas.cuts import images_per_s
from atlas.settings import BackboneSettings, HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import fit_head, moments

LEAVES = tuple(f"{a}/{b}/{c}" for a in "ab" for b in "cde" for c in "fg")
TREE = Taxonomy(("l1", "l2", "l3"), LEAVES, {})


def main(argv: Sequence[str] | None = None) -> None:
    """Print the median seconds of five refits a head, and how many fit into a backbone's epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--features", type=int, default=368)
    parser.add_argument("--heads", nargs="+", default=plugins.available("atlas.heads"))
    parser.add_argument("--checkpoint", default="", help="another backbone to compare with")
    parser.add_argument("--arch", default="")
    parser.add_argument("--image-size", type=int, default=0)
    arguments = parser.parse_args(argv)
    epochs = {}
    for backbone in backbones(arguments):
        speed = images_per_s(backbone, backbone.cut)
        said = f"{backbone.settings.name} at {backbone.image_size} px"
        epochs[said] = arguments.labels / speed
        print(
            f"{said}: {epochs[said]:.1f} s an epoch of {arguments.labels} images, extrapolated "
            f"from batches of {backbone.settings.batch_size}, reading left out"
        )
    for name in arguments.heads:
        seconds = refit_s(name, arguments.labels, arguments.features)
        ratios = ", ".join(f"{epoch / seconds:.0f} × {said}" for said, epoch in epochs.items())
        print(f"{name:15} {arguments.labels} labels × 3 levels: {seconds:.2f} s ({ratios})")


def backbones(arguments: argparse.Namespace) -> Iterator[Backbone]:
    """The default one, and the one of the arguments where there is one."""
    default = BackboneSettings()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        save_file(timm.create_model(default.name, num_classes=0).state_dict(), weights)
        yield Backbone(default.model_copy(update={"checkpoint": str(weights)}))
    if arguments.checkpoint:
        named = {
            "name": arguments.arch,
            "checkpoint": arguments.checkpoint,
            "image_size": arguments.image_size,
        }
        yield Backbone(default.model_copy(update=named))


def refit_s(name: str, number: int, features: int) -> float:
    """Median of five refits of a head on overlapping Gaussian classes."""
    rng = np.random.default_rng(0)
    leaf = rng.integers(len(LEAVES), size=number)
    centres = rng.normal(size=(len(LEAVES), features)) * 0.1
    x = (centres[leaf] + rng.normal(size=(number, features))).astype(np.float16)
    labels = [{"label": LEAVES[i]} for i in leaf]
    seconds = []
    for seed in range(5):
        started = time.perf_counter()
        fit_head(
            x,
            labels,
            taxonomy=TREE,
            settings=HeadSettings(name=name),
            pool_moments=moments(x),
            rng=np.random.default_rng(seed),
        )
        seconds.append(time.perf_counter() - started)
    return median(seconds)


if __name__ == "__main__":
    main()
