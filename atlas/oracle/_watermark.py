"""Up to which moment everything that happened in Label Studio is known here.

Asking about thousands of tasks every few seconds would slow the annotators down, so only what
changed since the watermark is read. It passes a task once the task's answers are in Atlas's
database, not when they were read: what a crash lost in between is read again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
import json

from atlas.project import Project
from atlas.store.tables import Meta
from atlas.types import utc_now

KEY = "label_studio_watermark"
OVERLAP = timedelta(minutes=1)  # a slow transaction shows up with an earlier time than its end
SWEEP_EVERY = timedelta(hours=1)  # deleted tasks change nothing that could be asked for


@dataclass(frozen=True)
class Watermark:
    """Everything that Label Studio project `project_id` saw until `seen` is known.

    Attributes:
        project_id: the Label Studio project.
        seen: by Label Studio's clock; None: nothing is known yet.
        swept: when all tasks were last looked at, by this machine's clock.
    """

    project_id: int
    seen: datetime | None = None
    swept: datetime | None = None

    @property
    def since(self) -> datetime | None:
        """Read tasks changed after this; None: all of them."""
        if self.seen is None or self.swept is None or utc_now() - self.swept > SWEEP_EVERY:
            return None
        return self.seen - OVERLAP

    def moved(self, tasks: Iterable[tuple[datetime, bool]]) -> "Watermark":
        """The watermark after reading tasks, each given as (changed at, all known here)."""
        seen = self.seen
        for changed_at, known in sorted(tasks):
            if not known:
                break
            seen = changed_at if seen is None else max(seen, changed_at)
        return Watermark(self.project_id, seen, utc_now() if self.since is None else self.swept)


def load(project: Project, project_id: int) -> Watermark:
    """The watermark of that Label Studio project, at the beginning where there is none."""
    with project.database.reader() as session:
        row = session.get(Meta, KEY)
    facts = json.loads(row.value) if row is not None else {}
    if facts.get("project_id") != project_id:
        return Watermark(project_id)
    return Watermark(project_id, _time(facts["seen"]), _time(facts["swept"]))


def save(project: Project, watermark: Watermark) -> None:
    """Remember it."""
    facts = {
        "project_id": watermark.project_id,
        "seen": watermark.seen.isoformat() if watermark.seen else None,
        "swept": watermark.swept.isoformat() if watermark.swept else None,
    }
    with project.database.session() as session:
        session.merge(Meta(key=KEY, value=json.dumps(facts)))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
