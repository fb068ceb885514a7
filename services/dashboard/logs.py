"""What the workers logged about a job."""

from collections import deque
from pathlib import Path
import re

from atlas.project import Project

READ_BYTES = 1 << 20  # of the end of each file
LINES = 40
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def log_tail(project: Project, job_id: str, *, lines: int = LINES) -> list[str]:
    """The last lines of the workers' logs that name the job, the oldest first."""
    named = re.compile(rf"\bjob='?{re.escape(job_id)}'?(?=\s|$)")
    found: deque[str] = deque(maxlen=lines)
    for path in sorted(project.run.glob("worker*.log")):
        found.extend(line for line in _end_of(path) if named.search(line))
    return list(found)


def _end_of(path: Path) -> list[str]:
    """The lines of the last part of a file; a line that the part begins in is left out."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - READ_BYTES, 0))
        text = file.read().decode(errors="replace")
    lines = COLOUR.sub("", text).splitlines()
    return lines if size <= READ_BYTES else lines[1:]
