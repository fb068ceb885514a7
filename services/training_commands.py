"""`atlas finetune` and `atlas stop`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
import os
from pathlib import Path
import signal
from threading import Event
from types import FrameType
from typing import Annotated, Any

import typer

from atlas.cli import options
from atlas.cli.output import Advance, Json, emit, progress_bar, say, stderr, stdout, table
from atlas.errors import Stopped
from atlas.progress import STAGES, in_words, learning
from atlas.project import Project
from atlas.store.tables import Job

STOPS = {  # kind of job → what a running one makes of being asked to stop
    "embed": "ends after the batches that it is at; what was embedded is kept",
    "finetune": "keeps a checkpoint and ends within seconds",
}
OVER = {"stopped": "is stopped", "done": "was done already", "failed": "had failed already"}
FINISHES = "finishes what it began; only an embed and a fine-tune end in the middle"


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

    Ctrl-C keeps a checkpoint; the same command goes on from there, with the labels of then. On
    several GPUs: `torchrun --standalone --nproc-per-node gpu --no-python atlas finetune DIR`.
    """
    project = Project(directory)
    if queue:
        if anew:
            from atlas.finetune import begin_anew

            begin_anew(project)
        _queue(project, directory, json)
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ["RANK"] != "0":
        _take_part(project)
        return
    result = _finetune_here(project, anew)
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

    A fine-tune keeps a checkpoint, an embed its bottlenecks; the next one goes on from there. A job
    that the clock asked for comes back with new images, answers or models, or when you retry it.
    """
    from services import jobs

    state = jobs.stop(Project(directory).database, job)
    if json:
        emit({"job": job, "state": state})
    elif state == "running":
        stdout.print(f"{job} is asked to stop; it {STOPS.get(job, FINISHES)}")
    else:
        stdout.print(f"{job} {OVER[state]}")


def _queue(project: Project, directory: Path, json: bool) -> None:
    from services.pulse import is_alive
    from services.sending import request_and_send

    job_id = request_and_send(project, "finetune")
    with project.database.reader() as session:
        state = session.get_one(Job, job_id).state  # one that runs already goes on
        lives = is_alive(session, project)
    if json:
        emit({"job": job_id, "state": state})
        return
    stdout.print(f"{job_id} is {state}; a worker of `atlas up` does it. Follow it with")
    stdout.print(f"atlas status {directory}", soft_wrap=True)
    if not lives:
        say(f"no worker is there now; it waits for `atlas up {directory}`")


def _take_part(project: Project) -> None:
    """What the other processes of `torchrun` do; the first one tells them when to stop."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    from atlas.training.finetune.run import take_part

    with suppress(Stopped):  # the first one says so
        take_part(project.settings.backbone)


def _finetune_here(project: Project, anew: bool) -> dict[str, Any]:
    from services.finetuning import at_terminal

    with ExitStack() as shown, _hearing_ctrl_c() as asked_to_stop:
        before: tuple[str, bool] | None = None
        advance: Advance | None = None

        def tell(at: Mapping[str, Any]) -> None:
            nonlocal before, advance
            counts = "done" in at
            if before != (at["stage"], counts):
                shown.close()  # two at once would overwrite each other
                advance = shown.enter_context(_showing(at, counts))
                before = at["stage"], counts
            if advance is not None:
                note = learning(at) if at["stage"] == "training" else ""
                advance(at["done"], at["total"], note)

        return at_terminal(project, anew=anew, tell=tell, should_stop=asked_to_stop)


@contextmanager
def _showing(at: Mapping[str, Any], counts: bool) -> Iterator[Advance | None]:
    """A bar for a stage that counts, else a line that turns."""
    if counts:
        with progress_bar(at["stage"], unit=STAGES[at["stage"]]) as advance:
            yield advance
    else:
        with stderr.status(in_words(at)):
            yield None


@contextmanager
def _hearing_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came, or the terminal went; a second one ends the program at once.

    What ignores a closed terminal (`nohup`) goes on ignoring it.
    """
    asked = Event()
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in wanted}

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
            f"{one['present']:.1%}" if one["n"] else "–",
            f"{one['candidate']:.1%}" if one["n"] else "–",
            f"{one['gained']} won, {one['lost']} lost of {one['n']}",
            f"{one['p']:.3f}",
        ]
        for task, one in result["tasks"].items()
    ]
    title = "on labelled images that neither has seen"
    table(["level", "now", "fine-tuned", "images", "p"], rows, title)
    done = "answers now" if result["promoted"] else "was not promoted"
    stdout.print(f"{result['model']} {done}: {result['reason']}")
