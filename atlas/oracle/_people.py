"""Who there is in Label Studio: the names of those who answer, stored so that pages ask nobody.

Of everybody else the number and the age of the account are enough, while it is new: whoever has
just come may be asked where others disagree.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
import structlog

from atlas.errors import OracleRefused
from atlas.oracle._connection import connection
from atlas.oracle._label_studio_api import LabelStudioApi
from atlas.project import Project
from atlas.settling import keep_newcomers
from atlas.store.tables import AnnotationRow, PersonRow

PREFIX = "ls:"  # of everybody who answered in Label Studio

log = structlog.get_logger(__name__)


def learn_people(project: Project) -> None:
    """Store the names of those who have answered, as they are now, and which accounts are new.

    The token's own account is none that labels, unless it has. A token that may not list people
    leaves everything as it was.

    Raises:
        OracleError: Label Studio does not answer.
    """
    there = connection(project)
    api = LabelStudioApi(there.url, there.token, managed=there.managed)
    try:
        users, own = api.users(), api.who_am_i()
    except OracleRefused as error:
        log.warning("annotators keep their numbers for names", error=str(error))
        return
    _keep_names(project, users)
    joined = {
        f"{PREFIX}{user['id']}": user["date_joined"]
        for user in users
        if user["email"] != own and user["date_joined"] is not None
    }
    with project.database.session() as session:
        keep_newcomers(session, joined)


def _keep_names(project: Project, users: Sequence[Mapping[str, Any]]) -> None:
    with project.database.reader() as session:
        answered = select(AnnotationRow.annotator).distinct()
        people = set(session.scalars(answered.where(AnnotationRow.annotator.startswith(PREFIX))))
        known = {row.id: row.name for row in session.scalars(select(PersonRow))}
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
