"""simulate: the same rounds with an oracle that knows the truth, to compare samplers."""

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli import options
from atlas.cli.output import Json, emit, progress_bar, stdout


def simulate(
    images: options.Images,
    out: Annotated[Path, typer.Option(help="Where curves and tables go.", show_default=False)],
    truth: options.Truth = "folders",
    sampler: Annotated[
        str, typer.Option(help="One or several, with commas; `default` is what Atlas would use.")
    ] = "default",
    start: Annotated[
        int, typer.Option(help="Random labels to begin with; 0: cold start.", min=0)
    ] = 0,
    batch: Annotated[int, typer.Option(help="Labels a round.", min=1)] = 20,
    budget: Annotated[int, typer.Option(help="Labels in all.", min=1)] = 200,
    seeds: Annotated[int, typer.Option(help="Repetitions.", min=1)] = 3,
    test: Annotated[
        Path | None, typer.Option(help="Images to measure on, instead of a random fifth.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Runs at a time; 0: one a core.", min=0)] = 0,
    taxonomy: options.TaxonomyFile = None,
    backbone: options.BackboneName = "",
    checkpoint: options.Checkpoint = None,
    arch: options.Arch = "",
    image_size: options.ImageSize = 0,
    json: Json = False,
) -> None:
    """Compare samplers by simulation: the same round code, no people, no Label Studio."""
    from atlas.setup import Source
    from atlas.simulation import Plan, every, run_simulation

    plan = Plan(
        source=Source(images, options.check_truth(truth), taxonomy),
        backbone=options.backbone_settings(backbone, checkpoint, arch, image_size),
        samplers=tuple(sampler.split(",")),
        start=start,
        schedule=every(batch, budget, start=start),
        seeds=seeds,
        test=test,
        workers=workers,
    )
    with progress_bar("simulating", unit="runs") as advance:
        curves, markdown = run_simulation(plan, out, progress=advance)
    if json:
        emit(curves)
        return
    stdout.print(markdown, markup=False, soft_wrap=True)
    stdout.print(f"curves.json, curves.png and table.md are in {out}")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(simulate)
