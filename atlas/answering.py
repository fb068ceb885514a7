"""Which backbone answers now: the one of atlas.toml, or its fine-tuned descendant. No torch here.

A fine-tuned backbone is a file in the project. The models whose heads read its bottlenecks name
it, so promoting or rolling back a model switches backbone and head at once.
"""

import json
from typing import Any

from sqlalchemy.orm import Session

from atlas.errors import ModelError
from atlas.project import Project
from atlas.promotion import current_id
from atlas.settings import BackboneSettings

TUNED = "finetuned"
"""Key in a bundle's facts: {"checkpoint": path in the project, "of": what it was tuned from}."""


def backbone_settings(project: Project) -> BackboneSettings:
    """How to load the backbone that answers now.

    Raises:
        ModelError: the present model's facts cannot be read.
    """
    with project.database.reader() as session:
        tuned = tuned_backbone(project, session)
    base = project.settings.backbone
    if tuned is None:
        return base
    return base.model_copy(update={"checkpoint": project.absolute(tuned["checkpoint"])})


def tuned_backbone(project: Project, session: Session) -> dict[str, Any] | None:
    """What the present model says of its fine-tuned backbone; None where it has none.

    None, too, once atlas.toml names another backbone than the one it was tuned from: the file wins.
    """
    current = current_id(session)
    if current is None:
        return None
    path = project.models / current / "model.json"
    try:
        tuned = json.loads(path.read_text(encoding="utf-8")).get(TUNED)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the model in {path.parent} does not load ({error}); promote another one "
            "(`atlas models`)"
        ) from error
    return tuned if tuned is not None and tuned["of"] == origin(project) else None


def origin(project: Project) -> dict[str, Any]:
    """What a fine-tune starts from: atlas.toml's backbone, without what only changes its speed."""
    return project.settings.backbone.model_dump(mode="json", exclude={"batch_size", "device"})
