"""What the last whole embedding found: how many images, by which backbone.

The job's row cannot tell: it begins anew each time that an embedding is asked for.
"""

from dataclasses import asdict, dataclass
import json

from sqlalchemy.orm import Session

from atlas.answering import identity, tuned_checkpoint
from atlas.project import Project
from atlas.store.tables import Job, Meta

KEY = "embedded"  # in Meta


@dataclass(frozen=True)
class Embedded:
    """All `images` had their bottleneck, `computed` of them anew, by the backbone of that identity.

    See `atlas.answering.identity`.
    """

    backbone: str
    images: int
    computed: int


def remember(session: Session, found: Embedded) -> None:
    """A whole embedding ended."""
    session.merge(Meta(key=KEY, value=json.dumps(asdict(found))))


def last(session: Session) -> Embedded | None:
    """What the last one found; None before the first."""
    row = session.get(Meta, KEY)
    return None if row is None else Embedded(**json.loads(row.value))


def count(session: Session, project: Project) -> int:
    """Images that the backbone that answers now has embedded; 0 before its first whole time."""
    found = last(session)
    return found.images if found and found.backbone == identity(project, session) else 0


def is_done(session: Session, project: Project) -> bool:
    """Whether an embed with the backbone that answers now was done, of all images or most."""
    done = session.get(Job, "embed")
    return (
        done is not None
        and done.state == "done"
        and done.progress.get("backbone", "") == tuned_checkpoint(project, session)
    )
