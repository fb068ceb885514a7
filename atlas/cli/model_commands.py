"""train, accuracy, models, promote, rollback, predict, pretrain-demo."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli import options
from atlas.cli.output import Json, emit, measured_cell, progress_bar, stdout, table
from atlas.decimals import decimal
from atlas.errors import SettingsError
from atlas.project import Project
from atlas.round_state import is_complete, open_number
from atlas.switching import switch, switch_back


def train(directory: options.Directory, json: Json = False) -> None:
    """Refit the heads on every label so far, measure and promote the model.

    Closes the open round where every query of it was answered or skipped.
    """
    from atlas import rounds
    from atlas.embedding import project_backbone
    from atlas.status import measured as look
    from atlas.store.lease import PROJECT, lease, new_holder
    from atlas.train import train_model
    from atlas.views import training_views

    project = Project(directory)
    with lease(project.database, PROJECT, new_holder()):
        if project.settings.head.views:
            with progress_bar("embedding augmented views", unit="views") as advance:
                training_views(project, project_backbone(project), progress=advance)
        with project.database.reader() as session:
            number = open_number(session)
            complete = number is not None and is_complete(session, number)
        model_id = rounds.close_round(project) if complete else None
        model_id = model_id or train_model(project, round_number=number)
    found = look(project, model_id)
    if json:
        emit({"model": model_id, "round_closed": number if complete else None, "accuracy": found})
        return
    stdout.print(f"model {model_id}" + (f"; round {number} closed" if complete else ""))
    _accuracy_table(found)


def accuracy(
    directory: options.Directory,
    level: Annotated[str, typer.Option(help="Only this level, attribute or quantity.")] = "",
    json: Json = False,
) -> None:
    """Accuracy per level on the audit set, mean error per quantity, with a 95% interval."""
    from atlas.status import measured as look
    from atlas.train import measure_current

    project = Project(directory)
    tasks = list(project.taxonomy.outputs)
    if level and level not in tasks:
        raise SettingsError(f"no level {level!r}; known: {', '.join(tasks)}")
    measure_current(project)
    found = {task: one for task, one in look(project).items() if level in ("", task)}
    if json:
        emit(found)
        return
    _accuracy_table(found)


def models(directory: options.Directory, json: Json = False) -> None:
    """Every model, newest first; `*` answers now."""
    from atlas.status import models as look

    project = Project(directory)
    found = look(project)
    if json:
        emit(found)
        return
    tasks = list(project.taxonomy.outputs)
    rows = [
        [
            f"{one['model']}{' *' if one['current'] else ''}",
            str(one["labels"]),
            *(measured_cell((one["accuracy"] | one["errors"])[task]) for task in tasks),
            one["created_at"][:16].replace("T", " "),
        ]
        for one in found
    ]
    table(["model", "labels", *tasks, "made"], rows)
    for one in found:
        if one["finetune"]:
            verdict = "promoted" if one["finetune"]["promoted"] else "not promoted"
            stdout.print(f"{one['model']} fine-tuned, {verdict}: {one['finetune']['reason']}")
            stdout.print(f"  {_judged(one['finetune']['tasks'])}")


def promote(
    directory: options.Directory,
    model: Annotated[str, typer.Argument(help="Such as m0003.", show_default=False)],
    json: Json = False,
) -> None:
    """Let this model answer from now on."""
    switch(Project(directory), model, reason="promoted by hand")
    _now(model, json)


def rollback(directory: options.Directory, json: Json = False) -> None:
    """Go back to the model that answered before."""
    _now(switch_back(Project(directory)), json)


def predict(
    directory: options.Directory,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    json: Json = False,
) -> None:
    """The most likely classes of images, at every level, and their quantities."""
    from atlas.serving import project_predictor

    records = project_predictor(Project(directory)).predict([str(image) for image in images])
    if json:
        emit(records)
        return
    for record in records:
        shown = record["shown"]["class"] or "nothing is sure enough yet"
        stdout.print(f"[bold]{record['image']}[/]: {shown}")
        for task, ranked in record["tasks"].items():
            best = ", ".join(f"{one['class']} {one['probability']:.0%}" for one in ranked[:3])
            stdout.print(f"  {task}: {best}")
        for name, number in record["quantities"].items():
            stdout.print(f"  {name}: {decimal(number, 4)}")


def pretrain_demo(
    out: Annotated[Path, typer.Option(help="Where the weights go.")] = Path("backbone-demo"),
    quick: Annotated[bool, typer.Option(help="A few steps only, to try the recipe.")] = False,
    json: Json = False,
) -> None:
    """Train the small backbone of the drawn pools again, on other classes and other homes."""
    from atlas.demo.pretrain import pretrain_demo as run

    with progress_bar("pretraining", unit="steps") as advance:
        facts = run(out, quick=quick, progress=advance)
    if json:
        emit(facts)
        return
    stdout.print(f"weights written to {out}: {facts}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (train, accuracy, models, promote, rollback, predict):
        app.command()(command)
    app.command("pretrain-demo")(pretrain_demo)


def _accuracy_table(found: dict[str, dict[str, object]]) -> None:
    rows = [[task, measured_cell(one), str(one["n"])] for task, one in found.items()]
    table(["level", "accuracy (95%)", "audit labels"], rows)


def _judged(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """What a fine-tune was judged by: level for level, on labelled images it had not seen."""
    return "; ".join(
        f"{task} {one['present']:.1%} → {one['candidate']:.1%} of {one['n']}, p {one['p']:.3f}"
        for task, one in tasks.items()
        if one["n"]
    )


def _now(model: str, json: bool) -> None:
    if json:
        emit({"model": model})
    else:
        stdout.print(f"{model} answers now")
