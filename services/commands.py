"""`atlas up` and `atlas demo`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import shutil
import sys
import time
from typing import Annotated, Any

from rich.status import Status
import typer

from atlas.cli import options
from atlas.cli.output import Json, emit, measured_cell, progress_bar, say, stderr, table
from atlas.project import Project
from services import label_studio, schedule_commands, serve_commands, training_commands
from services.addresses import LABEL_PATH
from services.supervisor import WATCH_EVERY_S, Report, Supervisor


def register(app: typer.Typer) -> None:
    """Add the commands of this package to the command line."""
    app.command("up")(up)
    app.command("demo")(demo)
    training_commands.register(app)
    schedule_commands.register(app)
    serve_commands.register(app)


def up(directory: options.Directory) -> None:
    """Run a project: Label Studio, worker, schedule and web API; Ctrl-C stops them."""
    from services.interrupts import ending_on_signals
    from services.startup import bring_up

    project = Project(directory)
    try:
        with ending_on_signals(), Supervisor(project) as supervisor:
            with waiting("starting") as report:
                bring_up(supervisor, report)
            tell_addresses(supervisor)
            stay(supervisor)
    except KeyboardInterrupt:
        say("stopped; what was finished is kept")


def demo(
    pool: Annotated[str, typer.Option(help="Which drawn pool: garments or water.")] = "garments",
    rounds: Annotated[int, typer.Option(help="How many rounds.", min=1)] = 6,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end.")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="Its folder.")] = Path("atlas-demo"),
    protocol: Annotated[
        bool, typer.Option("--protocol", help="Instead: four weeks in new homes, simulated.")
    ] = False,
    homes: Annotated[int, typer.Option(help="How many homes, with --protocol.", min=1)] = 20,
    json: Json = False,
) -> None:
    """Run the whole loop on a drawn pool with an automatic annotator, on real parts."""
    if protocol:
        four_weeks(pool, homes, json)
        return
    from services.demo import Plan, draw_demo_pool, make_demo_project, prepare_folder
    from services.interrupts import ending_on_signals

    plan = Plan(pool=pool, rounds=rounds)
    with ending_on_signals():
        settings = prepare_folder(directory, plan)
        project = make_demo_project(directory, plan, settings)
        with Supervisor(project, any_port=True) as supervisor:
            supervisor.start()  # its parts take seconds to come up, and so does the drawing
            with progress_bar(f"drawing {pool}") as drawing:
                draw_demo_pool(supervisor, plan, drawing=drawing)
            content = run_demo(supervisor, plan)
            tell_result(content, directory, json)
            if keep:
                tell_addresses(supervisor)
                stay(supervisor)
    say(f"next: {program()} up {directory}    (and label the queue by hand)")


def four_weeks(pool: str, homes: int, json: bool) -> None:
    """The four-week protocol on simulated homes, beside its reference; writes no file."""
    from atlas.backbone import Backbone
    from atlas.demo.protocol_run import Library, arms, run_protocol
    from atlas.demo.protocol_table import SHORT_COLUMNS, short_rows, summary
    from atlas.errors import PoolError
    from atlas.settings import ShowingSettings
    from services.demo import demo_backbone

    if pool != "water":
        raise PoolError(f"the protocol is of homes, not of {pool}; add --pool water")
    library = Library(Backbone(demo_backbone()).embed)
    with progress_bar("listening to other homes", unit="homes") as listening:
        lessons = library.lessons(progress=listening)
    ways = [arm for arm in arms(lessons, ShowingSettings()) if arm.lessons is not None]
    with progress_bar("four weeks", unit="homes") as living:
        content = run_protocol(library, ways, homes=homes, progress=living)
    if json:
        emit({**content, "summary": summary(content)})
        return
    for name, rows in short_rows(content).items():
        table(SHORT_COLUMNS, rows, name)
    say(f"{homes} homes: accuracy on held-out events, mean ± half of its 95% interval")


def run_demo(supervisor: Supervisor, plan: Any) -> dict[str, Any]:
    """The rounds of the demo; writes the report and returns its content."""
    from services import demo as steps
    from services.sending import request_and_send
    from services.startup import bring_up

    if not supervisor.parts:
        supervisor.start()
    with progress_bar("reading images") as reading:
        steps.ingest_pool(supervisor.project, progress=reading)
    request_and_send(supervisor.project, "embed")
    with waiting("starting") as report:
        ls_project = bring_up(supervisor, report)
    with steps.answering(supervisor, ls_project) as annotator:
        with progress_bar("embedding") as embedding:
            steps.wait_for_embedding(supervisor, embedding)
        with waiting("the annotator answers, Atlas learns") as report:
            steps.wait_for_rounds(supervisor, annotator, rounds=plan.rounds, on_round=tell_round)
    from atlas.report import write_report

    return write_report(supervisor.project, supervisor.project.directory)


def tell_round(one: dict[str, Any]) -> None:
    """A line on stderr for a closed round."""
    measured = one["accuracy"] | one["errors"]
    found = ", ".join(f"{task} {measured_cell(value)}" for task, value in measured.items())
    say(f"round {one['round']}: {one['labels']} labels; {found}")


def tell_result(content: dict[str, Any], directory: Path, json: bool) -> None:
    """The table of rounds, or the JSON."""
    if json:
        emit(content)
        return
    last = content["rounds"][-1]
    tasks = [*last["accuracy"], *last["errors"]]
    rows = [
        [
            str(one["round"]),
            str(one["labels"]),
            *(measured_cell((one["accuracy"] | one["errors"])[task]) for task in tasks),
            "–" if one["label_to_queue_s"] is None else f"{one['label_to_queue_s']:.1f} s",
        ]
        for one in content["rounds"]
    ]
    title = "accuracy on the audit set, with 95% interval"
    table(["round", "labels", *tasks, "last label to new queue"], rows, title)
    for name in ("result.json", "report.html", "curve.png"):
        say(f"wrote {directory / name}")


def tell_addresses(supervisor: Supervisor) -> None:
    """Where to go, and with which login."""
    say(f"label here    {supervisor.api_url}{LABEL_PATH}")
    if not supervisor.project.settings.label_studio.url:
        login = label_studio.admin(supervisor.project)
        say(f"  log in as   {login.email}   password {login.password}")
    say(f"dashboard     {supervisor.api_url}/")
    say("Ctrl-C stops everything")


def program() -> str:
    """This program as it can be typed from here: `atlas`, or its path where it is not on PATH."""
    if shutil.which("atlas") == sys.argv[0]:
        return "atlas"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def stay(supervisor: Supervisor) -> None:
    """Keep the parts running until Ctrl-C."""
    while True:
        supervisor.watch()
        time.sleep(WATCH_EVERY_S)


@contextmanager
def waiting(title: str) -> Iterator[Report]:
    """A progress line on stderr; where that is no terminal, a line whenever the words change."""
    if not stderr.is_terminal:
        yield _changes()
        return
    with Status(title, console=stderr) as line:
        yield line.update


def _changes() -> Report:
    last = ""

    def report(text: str) -> None:
        nonlocal last
        words = text.partition(" (")[0]
        if words != last:
            last = words
            say(text)

    return report
