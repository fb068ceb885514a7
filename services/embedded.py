"""How many images the last whole embedding found, and by which backbone.

The job's row cannot tell: it begins anew each time that an embedding is asked for.
"""

import json

from sqlalchemy.orm import Session

from atlas.answering import identity
from atlas.project import Project
from atlas.store.tables import Meta

KEY = "embedded"  # in Meta


def remember(session: Session, backbone: str, images: int) -> None:
    """Every image has its bottleneck by the backbone of that `identity`."""
    session.merge(Meta(key=KEY, value=json.dumps({"backbone": backbone, "images": images})))


def count(session: Session, project: Project) -> int:
    """Images that the backbone that answers now has embedded; 0 before its first whole time."""
    row = session.get(Meta, KEY)
    if row is None:
        return 0
    known = json.loads(row.value)
    return int(known["images"]) if known["backbone"] == identity(project, session) else 0
