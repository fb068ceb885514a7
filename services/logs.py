"""Log lines: as JSON for whatever collects a server's output, as text for `atlas up`.

What a worker logs while it does a job names the job, and stands on the job's page.
"""

import logging
import os
from pathlib import Path
import sys
from typing import Any

from celery.signals import setup_logging
import structlog
from structlog.typing import EventDict, Processor

from services.kept_log import KeptLog

LOG_LINES = "ATLAS_LOG_LINES"  # set for the programs that `atlas serve` becomes: the part's name
QUIET = ("alembic", "celery", "faiss", "httpx", "kombu", "urllib3")  # they tell too much
TIME = "%Y-%m-%d %H:%M:%SZ"
as_text = structlog.dev.ConsoleRenderer(
    colors=False,
    pad_event_to=0,
    pad_level=False,
    exception_formatter=structlog.dev.plain_traceback,
)


def set_up(run: Path) -> None:
    """Set up the log of a program of Celery's, as whatever started it wants it.

    Args:
        run: the project's folder for what runs, where a server's worker keeps its lines too.
    """
    part = os.environ.get(LOG_LINES)
    if part is None:
        use_text_lines()
        return
    use_json_lines(part, kept=KeptLog.in_folder(run) if part == "worker" else None)
    # Celery sets up no logging of its own where somebody listens to this signal.
    setup_logging.connect(_as_it_is, weak=False)


def use_text_lines() -> None:
    """Write this process's log to stdout, for people."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt=TIME, utc=True),
            as_text,
        ]
    )


def use_json_lines(part: str, *, kept: logging.Handler | None = None) -> None:
    """Write this process's log to stderr as JSON: `time`, `level`, `event`, `part` and more.

    Args:
        part: what it is of the project.
        kept: takes the same lines.
    """

    def name_part(_logger: Any, _method: str, record: EventDict) -> EventDict:
        return {**record, "part": part}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_part,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )
    handlers = [logging.StreamHandler(sys.stderr), *([kept] if kept is not None else [])]
    for handler in handlers:
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _as_it_is(**_: Any) -> None:
    """Logging stays as `use_json_lines` left it."""
