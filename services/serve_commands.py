"""`atlas serve`: one part in the foreground, for a server; docs/howto/server.md."""

from typing import Annotated

import typer

from atlas.cli import options
from atlas.cli.output import say
from atlas.project import Project

serve = typer.Typer(
    help="One part of a project in the foreground, for a server; `atlas up` runs them all.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(serve, name="serve")


@serve.command()
def api(directory: options.Directory) -> None:
    """The web API and the dashboard, at service.host and service.port."""
    from services.serving import serve_api

    serve_api(Project(directory))


@serve.command()
def worker(
    directory: options.Directory,
    queues: Annotated[
        str, typer.Option(help="Which jobs it takes: `atlas`, `gpu` (fine-tunes) or both.")
    ] = "atlas,gpu",
    processes: Annotated[int, typer.Option(help="Jobs at a time.", min=1)] = 3,
) -> None:
    """A worker. Several may run, on several machines that share the folder."""
    from atlas.errors import SettingsError
    from services.celery_config import GPU_QUEUE, QUEUE
    from services.serving import become_worker

    wanted = [name.strip() for name in queues.split(",")]
    if unknown := sorted(set(wanted) - {QUEUE, GPU_QUEUE}):
        raise SettingsError(
            f"--queues {queues!r}: no queue {unknown[0]!r}; known: {QUEUE}, {GPU_QUEUE}"
        )
    become_worker(Project(directory), wanted, processes)


@serve.command()
def schedule(directory: options.Directory) -> None:
    """The clock that asks for what is due."""
    from services.serving import become_schedule

    become_schedule(Project(directory))


@serve.command()
def connect(
    directory: options.Directory,
    patience: Annotated[
        float, typer.Option(help="Seconds that Label Studio is waited for.", min=0)
    ] = 180.0,
) -> None:
    """Set the project up in Label Studio and ask for the first jobs; repeating is safe."""
    from services.serving import connect as set_up

    number = set_up(Project(directory), patience_s=patience)
    say(f"Label Studio project {number} is set up")


@serve.command()
def check(directory: options.Directory) -> None:
    """Exit with 0 where the database and the broker answer and ticks are carried out."""
    from services.serving import check as look

    look(Project(directory))
    say("the database and the broker answer, and ticks are carried out")
