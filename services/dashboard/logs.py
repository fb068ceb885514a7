"""What the workers logged about a job."""

from collections.abc import Iterator, Sequence
import json
from pathlib import Path
import re

from atlas.project import Project
from services.logs import as_text

READ_BYTES = 1 << 20  # of the end of each file
LINES = 100
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
UNSAID = ("part", "logger")  # a page about a job of a worker need not tell


def log_tail(project: Project, job_id: str, *, lines: int = LINES) -> list[str]:
    """The last lines that the workers of every host logged about the job, the oldest first.

    With a record go the lines that follow it, such as a traceback's.
    """
    named = re.compile(rf"\bjob='?{re.escape(job_id)}'?(?=\s|$)")
    found = [
        text
        for path in sorted(project.run.glob("worker*.log"))
        for record in _records(_end_of(path))
        if job_id in record and named.search(text := _text_of(record))
    ]
    return "\n".join(sorted(found, key=_moment)).splitlines()[-lines:]


def _records(lines: Sequence[str]) -> Iterator[str]:
    """What was logged, piece by piece: a line of JSON, or a line of text with those that follow."""
    record: list[str] = []
    for line in lines:
        is_json = line.startswith("{")
        if record and (is_json or MOMENT.match(line.lstrip("["))):
            yield "\n".join(record)
            record = []
        if is_json:
            yield line
        else:
            record.append(line)
    yield "\n".join(record)


def _text_of(record: str) -> str:
    """The record as `atlas up` would have logged it."""
    try:
        found = json.loads(record)
    except ValueError:  # text, or a line that a full disk or a kill cut short
        return record
    said = {key: value for key, value in found.items() if key not in UNSAID}
    moment = said.pop("time")[:19].replace("T", " ")
    return str(as_text(None, "", {"timestamp": f"{moment}Z", **said}))


def _moment(record: str) -> str:
    return record.lstrip("[")[:19]


def _end_of(path: Path) -> list[str]:
    """The lines of the last part of a file; a line that the part begins in is left out."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - READ_BYTES, 0))
        text = file.read().decode(errors="replace")
    whole = text[: text.rfind("\n") + 1]  # the last line may be in the middle of being written
    lines = COLOUR.sub("", whole).splitlines()
    return lines if size <= READ_BYTES else lines[1:]
