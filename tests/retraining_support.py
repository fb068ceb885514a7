"""What the tests of schedules share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from rows_support import image_row
from sqlalchemy import select

from atlas.project import Project
from atlas.settings import Settings
from atlas.store.tables import DecisionRow, LabelRow, ModelRow
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL
from services import jobs

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEAVES = ("round/ball", "round/ring", "angular/box", "angular/cross")


def bare_project(folder: Path) -> Project:
    """A project without images, whose backbone nobody loads."""
    return Project.create(
        folder,
        Settings.model_validate({"audit": {"min_labels": 10}}),
        Taxonomy(("family", "shape"), LEAVES, {}),
    )


def label(project: Project, first: int, last: int) -> None:
    """Labels for the pool images with numbers in [first, last)."""
    with project.database.session() as session:
        for number in range(first, last):
            session.add(image_row(number))
            session.flush()
            session.add(
                LabelRow(
                    image_id=f"img_{number}",
                    task=LABEL,
                    value=LEAVES[0],
                    agreement=1.0,
                    annotations=1,
                )
            )


def model(project: Project, name: str, at: datetime, labels: int, **metrics: object) -> None:
    with project.database.session() as session:
        session.add(
            ModelRow(
                id=name, head="tree", fingerprint="", labels=labels, metrics=metrics, created_at=at
            )
        )


def said(project: Project, kind: str = "finetune") -> list[tuple[bool, str]]:
    """What was decided, the oldest first."""
    with project.database.reader() as session:
        rows = session.scalars(
            select(DecisionRow).where(DecisionRow.kind == kind).order_by(DecisionRow.id)
        )
        return [(row.run, row.reason) for row in rows]


def end(project: Project, job_id: str) -> None:
    assert jobs.start(project.database, job_id, holder="test")
    jobs.finish(project.database, job_id)
