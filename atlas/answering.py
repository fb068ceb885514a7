"""Which backbone answers now: the one of atlas.toml, or its fine-tuned descendant. No torch here.

A fine-tuned backbone is a file in the project. The models whose heads read its bottlenecks name
it, so promoting or rolling back a model switches backbone and head at once.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from atlas.project import Project
from atlas.promotion import current_id
from atlas.settings import BackboneSettings
from atlas.store.tables import ModelRow

TUNED = "tuned_backbone"
"""Key in a model's metrics: {"checkpoint": path in the project, "of": what it was tuned from}."""


def backbone_settings(project: Project) -> BackboneSettings:
    """How to load the backbone that answers now."""
    with project.database.reader() as session:
        checkpoint = tuned_checkpoint(project, session)
    base = project.settings.backbone
    if not checkpoint:
        return base
    return base.model_copy(update={"checkpoint": project.absolute(checkpoint)})


def tuned_checkpoint(project: Project, session: Session) -> str:
    """Where in the project the fine-tuned backbone is that answers now; empty where none does.

    Empty, too, once atlas.toml names another backbone than the one it was tuned from: the file
    wins.
    """
    current = current_id(session)
    tuned = None if current is None else session.get_one(ModelRow, current).metrics.get(TUNED)
    return str(tuned["checkpoint"]) if tuned is not None and tuned["of"] == _base(project) else ""


def identity(project: Project, session: Session) -> str:
    """A text that is another for every backbone that may answer; equal ones give equal vectors."""
    return json.dumps([_base(project), tuned_checkpoint(project, session)], sort_keys=True)


def said_of(project: Project, backbone: BackboneSettings) -> dict[str, Any]:
    """What the metrics of a model on this backbone say of it; nothing of that in atlas.toml."""
    if backbone.checkpoint == project.settings.backbone.checkpoint:
        return {}
    path = Path(backbone.checkpoint).relative_to(project.directory)
    return {TUNED: {"checkpoint": path.as_posix(), "of": _base(project)}}


def _base(project: Project) -> dict[str, Any]:
    """What a fine-tune begins with: atlas.toml's backbone, but for what only changes its speed."""
    return project.settings.backbone.model_dump(mode="json", exclude={"batch_size", "device"})
