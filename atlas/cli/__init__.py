"""The command line: parse → one call → print."""

from importlib.metadata import entry_points
import os
from pathlib import Path
import sys
from typing import Annotated

import structlog
import typer

from atlas import __version__
from atlas.cli import (
    compare_command,
    label_commands,
    model_commands,
    project_commands,
    simulate_command,
    token_commands,
)
from atlas.cli.output import complain, say
from atlas.errors import AtlasError, Stopped, explain_full_disk

INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def build_app() -> typer.Typer:
    """Every command: those of this package, then those other packages register.

    `services` registers `up` and `demo` in the entry point group `atlas.commands`, so that this
    package need not import it.
    """
    app = typer.Typer(
        name="atlas",
        help="Active transfer-learning labelling: asks people for the few labels that matter.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_atlas)
    for module in (
        project_commands,
        label_commands,
        model_commands,
        compare_command,
        simulate_command,
        token_commands,
    ):
        module.register(app)
    for entry in entry_points(group="atlas.commands"):
        entry.load()(app)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"atlas {__version__}")
        raise typer.Exit


def _atlas(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and end.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a mistake of the user's is one sentence and exit code 2.

    Work that Ctrl-C ended says what it kept, with the exit code 130.
    """
    # torch's threads spin while they wait, which starves the other processes of `atlas up`
    # (docs/log.md). It must be said before torch is loaded; a value of the user's own stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        with explain_full_disk(Path.cwd()):
            build_app()()
    except Stopped as stopped:  # before its base class: the user wished it
        say(str(stopped))
        sys.exit(INTERRUPTED)
    except AtlasError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except SystemExit as stopped:
        if stopped.code == INTERRUPTED:  # typer's answer to Ctrl-C
            complain("interrupted; what was finished is kept")
        raise
