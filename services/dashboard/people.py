"""Who answered how much."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, select

from atlas.analysis.remembered import until_answered
from atlas.project import Project
from atlas.store.tables import AnnotationRow
from atlas.types import utc_now

LATELY = timedelta(days=7)


@dataclass(frozen=True)
class Person:
    """What one annotator gave; answers that were taken back do not count.

    Attributes:
        annotator: their id; `names` says what they are called.
        answers: images answered.
        lately: of them in the last seven days, to the hour.
        skipped: images passed over.
        latest: the last time they did either.
    """

    annotator: str
    answers: int
    lately: int
    skipped: int
    latest: datetime


def people(project: Project, *, now: datetime | None = None) -> list[Person]:
    """Every annotator, who gave most first."""
    hour = (now or utc_now()).replace(minute=0, second=0, microsecond=0)
    return _people(project, hour - LATELY)


@until_answered
def _people(project: Project, since: datetime) -> list[Person]:
    row = AnnotationRow
    deleted = select(row.external_id).where(row.event == "deleted")
    is_answer = row.event == "submitted"
    answers = func.count(case((is_answer, row.external_id)).distinct())
    wanted = (
        select(
            row.annotator,
            answers,
            func.count(case((is_answer & (row.updated_at >= since), row.external_id)).distinct()),
            func.count(case((row.event == "skipped", row.external_id)).distinct()),
            func.max(row.updated_at),
        )
        .where(row.external_id.not_in(deleted))
        .group_by(row.annotator)
        .order_by(answers.desc(), row.annotator)
    )
    with project.database.reader() as session:
        return [Person(*found) for found in session.execute(wanted)]
