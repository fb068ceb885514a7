"""The live loop on images of your own: real Label Studio, worker, schedule and API, no person.

    python benchmarks/live_loop.py --images DIR --truth folders --limit 300 --seed 0 \
        --checkpoint FILE --arch NAME --image-size 64 --rounds 5 --batch 20 --audit 100 --out DIR

An automatic annotator answers from the folders' names through Label Studio's own API. Prints a
markdown table, a row a round, and writes result.json, report.html and curve.png to `--out`. The
project stays in OUT/project: `atlas up OUT/project` goes on with it by hand.
"""

import argparse
from collections.abc import Mapping, Sequence
import json
from pathlib import Path, PurePosixPath
import sys
from typing import Any

import numpy as np

from atlas.cli.options import backbone_settings
from atlas.cli.output import accuracy_cell, complain
from atlas.errors import AtlasError, PoolError
from atlas.images import Found, find_images, read_bytes
from atlas.pool import truth_of
from atlas.project import Project
from atlas.report import write_report
from atlas.settings import AuditSettings, PoolSettings, RoundSettings, ServiceSettings, Settings
from atlas.taxonomy import from_paths
from atlas.types import LABEL
from services.commands import run_demo
from services.demo import Plan
from services.interrupts import ending_on_signals
from services.supervisor import Supervisor


def draw(found: Sequence[Found], limit: int, rng: np.random.Generator) -> list[Found]:
    """`limit` of the images, each as likely as any other; all of them where `limit` is 0.

    Raises:
        PoolError: there are not that many.
    """
    if limit > len(found):
        raise PoolError(f"--limit {limit}, but there are only {len(found)} images; lower it")
    picks = rng.choice(len(found), limit or len(found), replace=False)
    return [found[i] for i in np.sort(picks)]


def write_sample(drawn: Sequence[Found], truth: str, folder: Path) -> Path:
    """Copy the images, out of a zip too, under names that tell nothing; returns their manifest.

    Raises:
        ImageError: one cannot be read.
        PoolError: one has no true label.
    """
    folder.mkdir(parents=True)
    lines = []
    for number, one in enumerate(drawn):
        known = truth_of(one, truth)
        if LABEL not in known:
            raise PoolError(f"{one.name} has no label; put it in the folder of its class")
        name = f"{number:06d}{PurePosixPath(one.name).suffix.lower()}"
        (folder / name).write_bytes(read_bytes(one.location))
        lines.append(json.dumps({"path": name, LABEL: known[LABEL]}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def make_project(arguments: argparse.Namespace) -> Project:
    """The project in OUT/project, its images not read yet; the taxonomy is that of all images.

    Raises:
        AtlasError: from the options, the images or their truth.
    """
    found = find_images(arguments.images)
    labels = [truth_of(one, arguments.truth).get(LABEL) for one in found]
    taxonomy = from_paths(str(label) for label in labels if label)
    drawn = draw(found, arguments.limit, np.random.default_rng(arguments.seed))
    manifest = write_sample(drawn, arguments.truth, arguments.out / "images")
    settings = Settings(
        name="live loop",
        seed=arguments.seed,
        pool=PoolSettings(images=str(manifest.resolve()), truth="manifest"),
        backbone=backbone_settings(
            arguments.backbone, arguments.checkpoint, arguments.arch, arguments.image_size
        ),
        audit=AuditSettings(size=arguments.audit, per_round=arguments.audit),
        round=RoundSettings(batch_size=arguments.batch),
        service=ServiceSettings(tick_s=2.0),
    )
    return Project.create(arguments.out / "project", settings, taxonomy)


def markdown(content: Mapping[str, Any]) -> str:
    """A row a round: labels, accuracy per level with its 95% interval, seconds to the new queue."""
    levels = content["levels"]
    lines = [
        f"| round | labels | {' | '.join(levels)} | last label to new queue |",
        f"|---:|---:|{'---:|' * len(levels)}---:|",
    ]
    for one in content["rounds"]:
        waited_s = one["label_to_queue_s"]
        cells = [str(one["round"]), str(one["labels"])]
        cells += [accuracy_cell(one["accuracy"][level]) for level in levels]
        cells.append("–" if waited_s is None else f"{waited_s:.1f} s")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, required=True, help="folder, zip or zip/folder")
    parser.add_argument("--truth", choices=["folders", "manifest"], default="folders")
    parser.add_argument("--limit", type=int, default=0, help="draw that many; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="", help="a timm model with the hub's weights")
    parser.add_argument("--checkpoint", type=Path, help="local weights instead")
    parser.add_argument("--arch", default="", help="the architecture of --checkpoint")
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=20, help="queries a round")
    parser.add_argument("--audit", type=int, default=100, help="images set apart to measure on")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    return parser.parse_args(words)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole loop; returns what result.json holds.

    Raises:
        AtlasError: from any part.
    """
    if arguments.out.exists() and any(arguments.out.iterdir()):
        raise PoolError(f"{arguments.out} is not empty; name a new folder with --out")
    project = make_project(arguments)
    with ending_on_signals(), Supervisor(project, any_port=True) as supervisor:
        run_demo(supervisor, Plan(rounds=arguments.rounds))
    return write_report(project, arguments.out)


def main(words: Sequence[str]) -> int:
    """Run the loop and print its table; a mistake of the user's is one sentence and code 2."""
    arguments = parse(words)
    try:
        content = run(arguments)
    except AtlasError as error:
        complain(str(error))
        return error.exit_code
    print(markdown(content))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
