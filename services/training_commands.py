"""`atlas finetune` and `atlas stop`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
import signal
from threading import Event
from types import FrameType
from typing import Annotated, Any

import typer

from atlas.cli import options
from atlas.cli.output import Advance, Json, emit, progress_bar, say, stdout, table
from atlas.progress import learning
from atlas.project import Project
from atlas.store.tables import Job

LEARNING = "fine-tuning"
UNITS = {LEARNING: "steps", "embedding": "images"}  # stage of a fine-tune → what it counts
STOPS = {  # kind of job → what a running one makes of being asked to stop
    "finetune": "keeps a checkpoint and ends within seconds"
}
OVER = {"stopped": "is stopped", "done": "was done already", "failed": "had failed already"}
FINISHES = "finishes what it began; only a fine-tune ends in the middle"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("finetune")(finetune)
    app.command("stop")(stop)


def finetune(
    directory: options.Directory,
    queue: Annotated[
        bool, typer.Option("--queue", help="Leave it to a worker of `atlas up`, and return.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Forget an unfinished fine-tune first.")
    ] = False,
    json: Json = False,
) -> None:
    """Train the backbone too, with the unlabelled pool; promote the result if it is better.

    Ctrl-C keeps a checkpoint; the same command goes on from there, with the labels of then.
    """
    from services.sending import request_and_send

    project = Project(directory)
    if anew:
        from atlas.finetune import begin_anew

        begin_anew(project)
    if queue:
        job_id = request_and_send(project, "finetune")
        with project.database.reader() as session:
            state = session.get_one(Job, job_id).state  # one that runs already goes on
        if json:
            emit({"job": job_id, "state": state})
            return
        stdout.print(f"{job_id} is {state}; a worker of `atlas up` does it. Follow it with")
        stdout.print(f"atlas status {directory}", soft_wrap=True)
        return
    result = _finetune_here(project)
    if json:
        emit(result)
        return
    _tell(result)


def stop(
    directory: options.Directory,
    job: Annotated[str, typer.Argument(help="Such as finetune.", show_default=False)],
    json: Json = False,
) -> None:
    """Ask a job of `atlas up` to stop; what it finished is kept.

    A fine-tune keeps a checkpoint, and the next one goes on from there.
    """
    from services import jobs

    state = jobs.stop(Project(directory).database, job)
    if json:
        emit({"job": job, "state": state})
    elif state == "running":
        stdout.print(f"{job} is asked to stop; it {STOPS.get(job, FINISHES)}")
    else:
        stdout.print(f"{job} {OVER[state]}")


def _finetune_here(project: Project) -> dict[str, Any]:
    from atlas.finetune import finetune as run

    with ExitStack() as bars, _hearing_ctrl_c() as asked_to_stop:
        shown: dict[str, Advance] = {}

        def tell(at: Mapping[str, Any]) -> None:
            stage = at["stage"]
            if stage not in shown:
                bars.close()  # two bars at once would overwrite each other
                shown[stage] = bars.enter_context(progress_bar(stage, unit=UNITS[stage]))
            note = learning(at) if stage == LEARNING else ""
            shown[stage](at["done"], at["total"], note)

        return run(project, progress=tell, should_stop=asked_to_stop)


@contextmanager
def _hearing_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; a second one ends the program at once."""
    asked = Event()
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def hear(number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)

    for one in before:
        signal.signal(one, hear)
    try:
        yield asked.is_set
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _tell(result: Mapping[str, Any]) -> None:
    for note in result["notes"]:
        say(note)
    rows = [
        [
            task,
            f"{one['present']:.1%}",
            f"{one['candidate']:.1%}",
            f"{one['gained']} won, {one['lost']} lost of {one['n']}",
            f"{one['p']:.3f}",
        ]
        for task, one in result["tasks"].items()
    ]
    title = "on labelled images that neither has seen"
    table(["level", "now", "fine-tuned", "images", "p"], rows, title)
    done = "answers now" if result["promoted"] else "was not promoted"
    stdout.print(f"{result['model']} {done}: {result['reason']}")
