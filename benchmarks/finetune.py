"""What unlabelled images are worth: heads and fine-tuning, each with and without UDA, on CIFAR-10.

    python benchmarks/finetune.py --out DIR --cifar CIFAR10.zip --checkpoint FILE \
        --arch regnetx_002 --image-size 64 --interpolation bilinear

Four ways to learn from the same labelled images, drawn at random for each seed: a head on frozen
bottlenecks; a head with UDA on bottlenecks of augmented views; fine-tuning with RandAugment; the
same with UDA, in the same number of steps. A finished run is a file in --out, and a stopped
fine-tune goes on from its checkpoint. Prints the table of docs/benchmarks/finetune.md.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
import json
from pathlib import Path
import shutil
import time

from finetune_data import Bench, Draw, Photos, Pixels, rows_of
import numpy as np
from numpy.typing import NDArray
from scipy.stats import t
import torch

from atlas.backbone import Backbone
from atlas.cli.output import progress_bar
from atlas.images import open_image
from atlas.settings import Settings
from atlas.training.finetune.material import Material
from atlas.training.finetune.run import run_finetune
from atlas.training.uda_heads import ViewRows
from atlas.views import recipe_of

VIEWS = 4
VIEWED = 2000  # unlabelled images with cached views
CONFIDENCE = 0.95


def frozen(bench: Bench, draw: Draw, _folder: Path) -> dict[str, float]:
    """A head on frozen bottlenecks."""
    return bench.accuracy(bench.backbone, bench.frozen_head(draw))


def views(bench: Bench, draw: Draw, _folder: Path) -> dict[str, float]:
    """A head on frozen bottlenecks of augmented views, with UDA."""
    backbone, unlabelled = bench.backbone, draw.rest.some(np.arange(VIEWED))
    recipe = recipe_of(Settings(seed=draw.seed))

    def varied(photos: Photos) -> torch.Tensor:
        def change(i: int, view: int) -> Pixels:
            rng = np.random.default_rng([draw.seed, view, i])
            return recipe.augment(backbone.prepare(open_image(photos.locations[i])), rng)

        made = [rows_of(backbone, photos, partial(change, view=view)) for view in range(VIEWS)]
        return torch.from_numpy(np.stack(made))

    cached = ViewRows(
        labelled=varied(draw.labelled),
        clean=torch.from_numpy(rows_of(backbone, unlabelled)),
        augmented=varied(unlabelled),
        uda=Settings().uda,
        steps=Settings().head.steps,
    )
    return bench.accuracy(backbone, bench.frozen_head(draw, cached))


def finetuned(weight: float) -> Callable[[Bench, Draw, Path], dict[str, float]]:
    """Backbone and head together, from the frozen head on; with UDA where it has a weight."""

    def run(bench: Bench, draw: Draw, folder: Path) -> dict[str, float]:
        arguments = bench.arguments
        settings = Settings.model_validate(
            {
                "seed": draw.seed,
                "backbone": bench.settings.model_dump(),
                "finetune": json.loads(arguments.finetune) | {"steps": arguments.steps},
                "uda": json.loads(arguments.uda) | {"weight": weight},
            }
        )
        material = Material(
            bench.frozen_head(draw),
            draw.labelled.locations,
            draw.labelled.labels(),
            draw.rest.locations,
        )
        with progress_bar(folder.name, unit="steps") as advance:
            result = run_finetune(
                material,
                settings,
                folder=folder,
                progress=lambda one: advance(one.step, one.steps),
            )
        return bench.accuracy(Backbone(result.backbone), result.head)

    return run


METHODS: dict[str, tuple[str, Callable[[Bench, Draw, Path], dict[str, float]]]] = {
    "frozen": ("head, frozen backbone", frozen),
    "views": ("head + UDA on cached views", views),
    "supervised": ("fine-tuning, RandAugment", finetuned(0.0)),
    "uda": ("fine-tuning + UDA", finetuned(1.0)),
}


def results(bench: Bench) -> list[dict[str, object]]:
    """Every run's record, from its file where it is finished."""
    arguments, records = bench.arguments, []
    for labels in arguments.labels:
        for seed in range(arguments.seeds):
            for method in arguments.methods.split(","):
                path = arguments.out / f"{method}-{labels}-{seed}.json"
                if not path.exists():
                    started = time.perf_counter()
                    folder = path.with_suffix("")
                    accuracy = METHODS[method][1](bench, bench.draw(labels, seed), folder)
                    seconds = round(time.perf_counter() - started, 1)
                    record = {"accuracy": accuracy, "seconds": seconds}
                    path.write_text(json.dumps(record), encoding="utf-8")
                    shutil.rmtree(folder, ignore_errors=True)
                found = json.loads(path.read_text(encoding="utf-8"))
                records.append({"method": method, "labels": labels, "seed": seed, **found})
    return records


def table(records: Sequence[dict[str, object]], levels: Sequence[str]) -> str:
    """Markdown: error at the finest level by method and labels, and what UDA cuts of it."""
    sizes = sorted({int(str(one["labels"])) for one in records})
    methods = [name for name in METHODS if any(one["method"] == name for one in records)]
    error = {
        (method, size): np.array(
            [
                1 - one["accuracy"][levels[-1]]  # type: ignore[index]
                for one in records
                if (one["method"], one["labels"]) == (method, size)
            ]
        )
        for method in methods
        for size in sizes
    }
    lines = [
        f"| error at {levels[-1]} | {' | '.join(f'{size} labels' for size in sizes)} |",
        f"|---|{'---:|' * len(sizes)}",
    ]
    for method in methods:
        cells = " | ".join(_cell(error[method, size]) for size in sizes)
        lines.append(f"| {METHODS[method][0]} | {cells} |")
    if {"uda", "supervised"} <= set(methods):
        cuts = [1 - error["uda", n].mean() / error["supervised", n].mean() for n in sizes]
        lines.append(
            f"| UDA's cut of fine-tuning's error | {' | '.join(f'{c:.0%}' for c in cuts)} |"
        )
    return "\n".join(lines) + "\n"


def _cell(errors: NDArray[np.float64]) -> str:
    if len(errors) < 2:
        return f"{errors.mean():.1%}"
    half = t.ppf((1 + CONFIDENCE) / 2, len(errors) - 1) * errors.std(ddof=1) / len(errors) ** 0.5
    return f"{errors.mean():.1%} ± {100 * half:.1f}"


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True, help="a zip with train/ and test/")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--interpolation", default="")
    parser.add_argument("--labels", type=int, nargs="+", default=[250, 1000, 4000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=Settings().finetune.steps)
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--methods", default=",".join(METHODS), help="with commas")
    parser.add_argument("--finetune", default="{}", help="JSON, over the defaults of [finetune]")
    parser.add_argument("--uda", default="{}", help="JSON, over the defaults of [uda]")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments)
    records = results(bench)
    print(f"{arguments.steps} steps, {arguments.seeds} seeds, ± half a 95% interval.\n")
    print(table(records, bench.taxonomy.levels))


if __name__ == "__main__":
    main()
