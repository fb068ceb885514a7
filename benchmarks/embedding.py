"""Throughput of `atlas embed` against a bare timm forward, side by side in one run.

    python benchmarks/embedding.py --images DIR --checkpoint FILE --arch NAME --image-size 64

The bare forward sees float tensors that are already in memory, in the same batches. The cache
reads, decodes, resizes, forwards and writes. Both run `--repeat` times in turn; the ratio of
medians is printed.
"""

import argparse
from pathlib import Path
import shutil
from statistics import median
import tempfile
import time

import timm
import torch

from atlas.backbone import Backbone
from atlas.embedding import embed_pool
from atlas.images import find_images
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings import AuditSettings, BackboneSettings, Settings
from atlas.taxonomy import from_paths


def bare_forward(backbone: Backbone, images: int) -> float:
    """Images a second of timm's own network on tensors in memory."""
    size, batch = backbone.image_size, backbone.settings.batch_size
    network = timm.create_model(backbone.settings.name, pretrained=False, num_classes=0)
    network.load_state_dict(backbone.network.state_dict())
    network = network.eval().to(backbone.device).to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, size, size, device=backbone.device)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(x)
        started = time.perf_counter()
        for _ in range(images // batch):
            network(x)
        if backbone.device.type == "cuda":
            torch.cuda.synchronize()
    return images // batch * batch / (time.perf_counter() - started)


def main() -> None:
    """Print a line a repetition and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    settings = Settings(
        backbone=BackboneSettings(
            name=arguments.arch,
            checkpoint=str(Path(arguments.checkpoint).resolve()),
            image_size=arguments.image_size,
            batch_size=arguments.batch_size,
        ),
        audit=AuditSettings(size=0),
    )
    folder = Path(tempfile.mkdtemp())
    labels = from_paths(one.name.rpartition("/")[0] for one in find_images(arguments.images))
    project = Project.create(folder / "p", settings, labels)
    ingest(project, arguments.images)
    backbone = Backbone(settings.backbone)
    bare, cached = [], []
    for _ in range(arguments.repeat):
        shutil.rmtree(project.bottlenecks, ignore_errors=True)
        report = embed_pool(project, backbone=backbone)
        cached.append(report.images_per_s)
        bare.append(bare_forward(backbone, report.computed))
        print(f"embed {cached[-1]:8.0f} images/s   bare forward {bare[-1]:8.0f} images/s")
    ratio = median(cached) / median(bare)
    print(f"median: embed {median(cached):.0f}, bare {median(bare):.0f}, ratio {ratio:.2f}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
