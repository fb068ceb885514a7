"""How many labels each sampler saves: learning curves over seeds on three pools.

    python benchmarks/label_efficiency.py --out DIR --seeds 20 --write \
        --cifar CIFAR10.zip --checkpoint FILE --arch regnetx_002 --image-size 64 \
        --interpolation bilinear

Every run goes from no label to 2,000, cold start included, by the replay that `atlas simulate`
uses. Without --cifar only the two drawn pools are run. A finished run is a file in --out: a stopped
benchmark goes on where it was. --write puts tables and plots into docs/benchmarks/.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas import plugins
from atlas.cli.output import progress_bar
from atlas.comparison import compare, markdown_table
from atlas.curves import draw_curves
from atlas.demo.pools import draw_pool
from atlas.settings import BackboneSettings
from atlas.setup import Source
from atlas.simulation import Plan, run_simulation
from services.demo import demo_backbone

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
SCHEDULE = {
    "cifar": (20, 50, 100, 200, 400, 600, 800, 1000, 1500, 2000),
    "garments": (20, 50, 100, 200, 500, 1000, 2000),
    "water": (20, 50, 100, 200, 500, 1000, 2000),
}
DRAWN = 4000
SHOWN = 5  # curves in a plot beside random; more cannot be told apart


def default_samplers() -> tuple[str, ...]:
    """Every sampler of the folder; those that take a level ask at the finest.

    "margin@auto" goes from the shallowest level to the finest.
    """
    names = []
    for name in plugins.available("atlas.samplers"):
        takes = plugins.takes("atlas.samplers", name, "level")
        names.append(f"{name}@finest" if takes else name)
    chains = ("margin*10 | kmeans@finest", "typiclust*4 | margin@finest")
    return ("random", *(name for name in names if name != "random"), "margin@auto", *chains)


def plan_of(pool: str, arguments: argparse.Namespace, out: Path) -> Plan:
    """What to simulate on one pool."""
    samplers = tuple(arguments.samplers.split(",")) if arguments.samplers else default_samplers()
    test: Path | None = None
    if pool == "cifar":
        backbone = BackboneSettings(
            name=arguments.arch,
            checkpoint=str(arguments.checkpoint.resolve()),
            image_size=arguments.image_size,
            interpolation=arguments.interpolation,
        )
        source = Source(arguments.cifar / "train", "folders")
        test = arguments.cifar / "test"
    else:
        backbone = demo_backbone()
        folder = draw_pool(pool, out / "pool", images=DRAWN, seed=0)
        source = Source(folder / "manifest.jsonl", "manifest", folder / "taxonomy.yaml")
    return Plan(
        source=source,
        backbone=backbone,
        samplers=samplers,
        start=0,
        schedule=SCHEDULE[pool],
        seeds=arguments.seeds,
        test=test,
        workers=arguments.workers,
    )


def by_area(content: dict[str, Any], level: str) -> list[str]:
    """Samplers from the best to the worst area under the curve at a level."""
    figures = compare(content)
    return sorted(figures, key=lambda name: -figures[name][level]["area"])


def section(pool: str, content: dict[str, Any]) -> str:
    """The markdown of one pool: a table a level, the finest first."""
    parts = [f"## {pool}\n\n![learning curves](label_efficiency_{pool}.png)\n"]
    for level in reversed(content["levels"]):
        names = by_area(content, level)
        ordered = {
            "levels": [level],
            "samplers": {name: content["samplers"][name] for name in names},
        }
        parts.append(markdown_table(ordered) + "\n")
    return "\n".join(parts)


def plotted(content: dict[str, Any]) -> dict[str, Any]:
    """Random and the best few at the finest level."""
    names = by_area(content, content["levels"][-1])
    kept = {"random", *names[:SHOWN]}
    return {**content, "samplers": {n: content["samplers"][n] for n in names if n in kept}}


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, help="cifar10.zip with train/ and test/")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--arch", default="")
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--interpolation", default="")
    parser.add_argument("--pools", default="cifar,garments,water")
    parser.add_argument("--samplers", default="", help="with commas; default: all there are")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks")
    arguments = parser.parse_args(argv)
    for pool in arguments.pools.split(","):
        if pool == "cifar" and arguments.cifar is None:
            continue
        out = arguments.out / pool
        with progress_bar(pool, unit="runs") as advance:
            content, _ = run_simulation(plan_of(pool, arguments, out), out, progress=advance)
        text = section(pool, content)
        print(text)
        if arguments.write:
            DOCS.mkdir(parents=True, exist_ok=True)
            (DOCS / f"label_efficiency_{pool}.md").write_text(text, encoding="utf-8")
            (DOCS / f"label_efficiency_{pool}.png").write_bytes(draw_curves(plotted(content)))


if __name__ == "__main__":
    main()
