"""What Label Studio calls those who answer: stored, so that a page that shows it asks nobody."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
import structlog

from atlas.errors import OracleRefused
from atlas.oracle._connection import connection
from atlas.oracle._label_studio_api import LabelStudioApi
from atlas.project import Project
from atlas.store.tables import AnnotationRow, PersonRow

PREFIX = "ls:"  # of everybody who answered in Label Studio

log = structlog.get_logger(__name__)


def learn_names(project: Project) -> None:
    """Store the names of those who have answered, as they are now; of nobody else.

    A token that may not list people leaves the names as they were.

    Raises:
        OracleError: Label Studio does not answer.
    """
    with project.database.reader() as session:
        answered = select(AnnotationRow.annotator).distinct()
        people = set(session.scalars(answered.where(AnnotationRow.annotator.startswith(PREFIX))))
        known = {row.id: row.name for row in session.scalars(select(PersonRow))}
    if not people:
        return
    there = connection(project)
    try:
        users = LabelStudioApi(there.url, there.token, managed=there.managed).users()
    except OracleRefused as error:
        log.warning("annotators keep their numbers for names", error=str(error))
        return
    names = {f"{PREFIX}{user['id']}": name_of(user) for user in users}
    news = {
        person: names[person]
        for person in people & names.keys()
        if names[person] and known.get(person) != names[person]
    }
    if news:
        with project.database.session() as session:
            for person, name in news.items():
                session.merge(PersonRow(id=person, name=name))


def name_of(user: Mapping[str, Any]) -> str:
    """First and last name, else the e-mail address; "" where there is neither."""
    parts = [(user.get(key) or "").strip() for key in ("first_name", "last_name")]
    return " ".join(part for part in parts if part) or (user.get("email") or "").strip()
