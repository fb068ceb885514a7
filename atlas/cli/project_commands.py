"""init, ingest, embed, where-to-cut, status: a project and its images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
import typer

from atlas.cli import options
from atlas.cli.output import (
    Json,
    accuracy_cell,
    emit,
    error_cell,
    gain_cell,
    keeping_nothing,
    progress_bar,
    say,
    stdout,
    table,
)
from atlas.pool import IngestReport
from atlas.progress import in_words
from atlas.project import Project

if TYPE_CHECKING:
    from atlas.cuts import CutReport


def init(
    directory: options.Directory,
    images: options.Images,
    truth: options.Truth = "",
    taxonomy: options.TaxonomyFile = None,
    backbone: options.BackboneName = "",
    checkpoint: options.Checkpoint = None,
    arch: options.Arch = "",
    image_size: options.ImageSize = 0,
    audit_size: options.AuditSize = 200,
    seed: options.Seed = 0,
    json: Json = False,
) -> None:
    """Make a project folder from images and a taxonomy."""
    from atlas.settings import AuditSettings, Settings
    from atlas.setup import Source, make_project

    settings = Settings(
        name=directory.resolve().name,
        seed=seed,
        backbone=options.backbone_settings(backbone, checkpoint, arch, image_size),
        audit=AuditSettings(size=audit_size),
    )
    source = Source(images, options.check_truth(truth), taxonomy)
    with progress_bar("reading images") as advance:
        project, report = make_project(directory, settings, source, progress=advance)
    _tell(report, json)
    say(f"project in {project.directory}; next: atlas embed {directory}")


def ingest(
    directory: options.Directory,
    path: Annotated[Path, typer.Argument(help="A folder, zip or manifest.", show_default=False)],
    truth: options.Truth = "",
    json: Json = False,
) -> None:
    """Add more images; what is there already is recognised by its content."""
    from atlas.pool import ingest as add_images

    with progress_bar("reading images") as advance:
        report = add_images(
            Project(directory), path, truth=options.check_truth(truth), progress=advance
        )
    _tell(report, json)


def embed(directory: options.Directory, json: Json = False) -> None:
    """Compute the bottlenecks that are missing; resumes where it was stopped."""
    from atlas.embedding import embed_pool

    project = Project(directory)
    with progress_bar("embedding") as advance:
        report = embed_pool(project, progress=advance)
    facts = {
        "images": report.total,
        "computed": report.computed,
        "images_per_s": round(report.images_per_s, 1),
        "seconds": round(report.seconds, 2),
        "damaged_shards": report.damaged_shards,
        "left_out": report.left_out,
        "fingerprint": report.fingerprint,
    }
    if json:
        emit(facts)
        return
    stdout.print(
        f"{report.computed} of {report.total} bottlenecks computed in {report.seconds:.1f} s "
        f"({report.images_per_s:,.0f} images/s); the rest was cached"
    )
    _list_left_out(report.left_out)


def where_to_cut(
    directory: options.Directory,
    depths: Annotated[
        int, typer.Option(help="Cuts to try above the classifier's input.", min=1)
    ] = 5,
    sample: Annotated[
        int, typer.Option(help="Labelled images to use at most, drawn at random.", min=1)
    ] = 2000,
    json: Json = False,
) -> None:
    """Fit heads on bottlenecks from several depths of the backbone: accuracy against cost."""
    from atlas.cuts import where_to_cut as compare

    project = Project(directory)
    with keeping_nothing(), progress_bar("embedding at every depth") as advance:
        found = compare(project, depths=depths, sample=sample, progress=advance)
    if json:
        emit(found.as_dict())
        return
    tasks = list(project.taxonomy.tasks)
    rows = [
        [
            f"{one.cut}{' *' if one.cut == found.present else ''}",
            str(one.features),
            f"{one.bytes_per_image:,}",
            f"{one.images_per_s:,.0f}",
            *(accuracy_cell(one.accuracy[task].as_dict()) for task in tasks),
        ]
        for one in found.depths
    ]
    table(["cut", "features", "bytes/image", "images/s", *tasks], rows)
    stdout.print(
        f"out of fold on {found.labels} labelled images; * is the present cut, "
        "images/s the network's alone"
    )
    _list_left_out(found.left_out)
    _advise(found)


def status(directory: options.Directory, json: Json = False) -> None:
    """Images, labels, the open round, accuracy per level, what more labels would add, jobs."""
    from atlas.status import status as look

    facts = look(Project(directory))
    if json:
        emit(facts)
        return
    images = facts["images"]
    stdout.print(
        f"[bold]{facts['name']}[/]: {images['pool']} pool images, {images['audit']} audit images"
        + (f", {images['left_out']} left out" if images["left_out"] else "")
    )
    waiting = f"round {facts['open_round']} open, {facts['waiting']} waiting for an answer"
    stdout.print(
        f"{facts['labels']} labels; "
        + (waiting if facts["open_round"] else "no round open")
        + f"; model {facts['model'] or 'none yet'}"
    )
    rows = [
        [task, accuracy_cell(one), str(one["n"]), gain_cell(facts["forecast"][task])]
        for task, one in facts["accuracy"].items()
    ]
    rows += [[name, error_cell(one), str(one["n"]), "–"] for name, one in facts["errors"].items()]
    table(["level", "accuracy (95%)", "audit labels", "next 100 labels"], rows)
    stdout.print(facts["audit"], highlight=False)
    if any(facts["disagreements"].values()):
        stdout.print(
            "{answered_unasked} queries answered by more people than were asked, "
            "{one_more_asked} asked once more after a tie, "
            "{unsettled} images without a majority".format(**facts["disagreements"])
        )
    for job in facts["jobs"]:
        if job["state"] != "done" or "promoted" in job["progress"]:
            state = "ended in the middle" if job["lost"] else job["state"]
            stdout.print(f"{job['id']} {state}: {escape(_of_job(job))}".rstrip(": "))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (init, ingest, embed, where_to_cut, status):
        app.command()(command)


def _of_job(job: dict[str, Any]) -> str:
    """How far it is or what it came to; of one that waits, failed or was stopped why."""
    tells = job["state"] in ("running", "done")
    return in_words(job["progress"]) if tells else str(job["error"])


def _advise(found: "CutReport") -> None:
    if found.best == found.present:
        stdout.print(f"no other cut has more right answers at {found.level}: keep {found.present}")
        return
    chance = f"paired test against {found.present}: p = {found.p_value:.2g}"
    if not found.better:
        stdout.print(
            f"{found.best} has the most right answers at {found.level}, but so few more that it "
            f"may be luck ({chance}); more labels would tell"
        )
        return
    stdout.print(
        f"{found.best} is the best cut at {found.level} ({chance}). To use it, write cut = "
        f'"{found.best}" under \\[backbone] in atlas.toml, then run atlas embed and atlas train'
    )


def _tell(report: IngestReport, json: bool) -> None:
    if json:
        emit(
            {
                "found": report.found,
                "added": report.added,
                "duplicates": report.duplicates,
                "audit": report.audit,
                "left_out": report.left_out,
            }
        )
        return
    stdout.print(
        f"{report.found} images found, {report.added} added ({report.audit} of them to the audit "
        f"set), {report.duplicates} known already, {len(report.left_out)} left out"
    )
    _list_left_out(report.left_out)


def _list_left_out(left_out: dict[str, str]) -> None:
    for reason in list(left_out.values())[:20]:
        say(f"  left out: {reason}")
    if len(left_out) > 20:
        say(f"  … and {len(left_out) - 20} more; `atlas ingest --json` lists all")
