"""What people are called; everything that is stored holds their ids alone."""

from collections import Counter
from collections.abc import Callable

from sqlalchemy import select

from atlas.project import Project
from atlas.store.tables import PersonRow

NOBODY = "unknown"


def names(project: Project) -> Callable[[str], str]:
    """Id → name, with the id where two share a name; the id where no name is known."""
    with project.database.reader() as session:
        known = {row.id: row.name for row in session.scalars(select(PersonRow))}
    shared = {name for name, times in Counter(known.values()).items() if times > 1}

    def called(person: str) -> str:
        name = known.get(person)
        if name is None:
            return person or NOBODY
        return f"{name} ({person})" if name in shared else name

    return called
