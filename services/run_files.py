"""The small files in DIR/run that say what runs where."""

import json
import os
from typing import Any

from atlas.project import Project, write_private


def write_state(project: Project, name: str, **facts: Any) -> None:
    """Write DIR/run/<name>.json: `facts`, and this process's id unless they hold another's."""
    text = json.dumps({"pid": os.getpid(), **facts})
    write_private(project.run / f"{name}.json", text)


def read_state(project: Project, name: str) -> dict[str, Any]:
    """What DIR/run/<name>.json says; empty where there is none."""
    path = project.run / f"{name}.json"
    if not path.exists():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")))


def forget_state(project: Project, name: str) -> None:
    """Remove DIR/run/<name>.json."""
    (project.run / f"{name}.json").unlink(missing_ok=True)
