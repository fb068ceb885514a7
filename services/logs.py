"""Log lines as JSON, one object a line, for whatever collects a server's output."""

import logging
import sys
from typing import Any

from celery.signals import setup_logging
import structlog
from structlog.typing import EventDict, Processor

LOG_LINES = "ATLAS_LOG_LINES"  # set for the programs that `atlas serve` becomes: the part's name
QUIET = ("alembic", "celery", "httpx", "kombu", "urllib3")  # they tell of every call


def use_json_lines(part: str) -> None:
    """Write this process's log to stderr as JSON: `time`, `level`, `event`, `part` and more."""

    def name_part(_logger: Any, _method: str, record: EventDict) -> EventDict:
        return {**record, "part": part}

    shared: list[Processor] = [
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def keep_celery_from_logging_otherwise() -> None:
    """Celery sets up no logging of its own where somebody listens to this signal."""
    setup_logging.connect(_as_it_is, weak=False)


def _as_it_is(**_: Any) -> None:
    """Logging stays as `use_json_lines` left it."""
