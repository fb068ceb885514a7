"""query, sync, export: out to the annotators and back."""

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli import options
from atlas.cli.output import Json, emit, stdout
from atlas.errors import ProjectError
from atlas.project import Project
from atlas.round_state import count_labels, is_complete, open_number
from atlas.store.lease import PROJECT, lease, new_holder


def query(
    directory: options.Directory,
    n: Annotated[int, typer.Option("-n", help="How many images; 0: round.batch_size.", min=0)] = 0,
    sampler: Annotated[str, typer.Option(help="Instead of round.sampler.")] = "",
    level: Annotated[str, typer.Option(help="Ask at this level of the taxonomy.")] = "",
    push: Annotated[bool, typer.Option(help="Send them to Label Studio now.")] = True,
    json: Json = False,
) -> None:
    """Choose images and send them to Label Studio, in order of priority."""
    from atlas import rounds
    from atlas.batches import Ask
    from atlas.oracle.label_studio import LabelStudioOracle

    project = Project(directory)
    oracle = LabelStudioOracle(project)
    if push:
        oracle.check()  # before anything is chosen: nothing half-done
    with project.database.reader() as session:
        before = open_number(session)
    with lease(project.database, PROJECT, new_holder()):  # two pushes at once would make twins
        number = rounds.open_round(project, Ask(n, sampler, level))
        pushed = rounds.push_round(project, oracle) if push else 0
    chosen = rounds.queries_of(project, number)
    if json:
        emit({"round": number, "new": before is None, "pushed": pushed, "queries": chosen})
        return
    if before is not None:
        stdout.print(f"round {number} was open already; answer it, or close it with `atlas train`")
    for one in chosen:
        stdout.print(f"{one['priority'] + 1:4d}  {one['image']}  {one['state']:9}  {one['reason']}")
    stdout.print(f"round {number}: {len(chosen)} images, {pushed} sent to Label Studio")


def sync(directory: options.Directory, json: Json = False) -> None:
    """Bring home what was annotated, edited, skipped or deleted in Label Studio."""
    from atlas import rounds
    from atlas.oracle.label_studio import LabelStudioOracle

    project = Project(directory)
    oracle = LabelStudioOracle(project)
    oracle.check()
    with lease(project.database, PROJECT, new_holder()):
        pushed = rounds.push_round(project, oracle)
    new = rounds.collect(project, oracle)
    with project.database.reader() as session:
        number = open_number(session)
        complete = number is not None and is_complete(session, number)
        labels = count_labels(session)
    if json:
        emit(
            {"pushed": pushed, "new": new, "labels": labels, "round": number, "complete": complete}
        )
        return
    stdout.print(f"{new} new annotations, {pushed} queries sent; {labels} labels in all")
    if complete:
        stdout.print(f"round {number} is complete; next: atlas train {directory}")


def export(
    directory: options.Directory,
    labels: Annotated[
        Path | None, typer.Option(help="Write the labels to this JSONL file.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Write the model to this new folder.")] = None,
    json: Json = False,
) -> None:
    """Write the labels with their provenance, or the model with its backbone, or both."""
    from atlas.export import export_labels
    from atlas.serving import export_model

    project = Project(directory)
    if labels is None and model is None:
        raise ProjectError("nothing to export: give --labels FILE, --model FOLDER or both")
    count = export_labels(project, labels) if labels is not None else 0
    if model is not None:
        export_model(project, model)
    if json:
        emit({"labels": count, "model": str(model) if model else None})
        return
    if labels is not None:
        stdout.print(f"{count} labelled images written to {labels}")
    if model is not None:
        stdout.print(f"model written to {model}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (query, sync, export):
        app.command()(command)
