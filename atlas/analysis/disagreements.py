"""The images on which people differ and no answer has a majority, at a level or of another task."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atlas.analysis.people import ANSWERS, oracle_tasks, said_in
from atlas.analysis.remembered import until_answered
from atlas.consensus import middle
from atlas.project import Project
from atlas.round_state import ANSWERED
from atlas.settling import MAJORITY, standing
from atlas.store.tables import AnnotationRow, LabelRow, QueryRow, Round
from atlas.taxonomy import Taxonomy, truncate
from atlas.types import LABEL


@dataclass(frozen=True)
class Disagreement:
    """An image on which people differ.

    Attributes:
        image: its id.
        said: id of a person → what they said, the oldest answer first.
        label: what it counts as for now.
        agreement: share of the answers that say so, in (0, 1/2].
        task: the oracle's id of the task, to open it; None where it has none.
        waits: whether somebody is still asked about it; else it stays as it is.
    """

    image: str
    said: Mapping[str, str]
    label: str
    agreement: float
    task: str | None = None
    waits: bool = False


@dataclass(frozen=True)
class Disagreements:
    """Some of the disagreements, of `found` in all; for `waiting` of them somebody is asked."""

    listed: list[Disagreement]
    found: int
    waiting: int


def disagreements(project: Project, level: str, *, start: int, limit: int) -> Disagreements:
    """Images on which no answer has more than half of the votes, those most at odds first.

    Args:
        project: whose labels.
        level: at which answers are compared, or an attribute or a quantity. A label that stops
            above the level differs from one that goes on; numbers count as their median, with those
            that are near it (`atlas.consensus.middle`).
        start: how many to pass over.
        limit: how many to list, some hundred at most.
    """
    found = _split(project, level)
    listed = found[start : start + limit]
    with project.database.reader() as session:
        waiting = _waiting(session)
        tasks = oracle_tasks(session, [one.image for one in listed])
    return Disagreements(
        [replace(one, task=tasks.get(one.image), waits=one.image in waiting) for one in listed],
        len(found),
        sum(one.image in waiting for one in found),
    )


@until_answered
def _split(project: Project, level: str) -> list[Disagreement]:
    taxonomy = project.taxonomy
    task = LABEL if level in taxonomy.levels else level
    tied = (LabelRow.task == task) & (LabelRow.agreement <= MAJORITY)
    by_image: dict[str, list[Any]] = defaultdict(list)
    with project.database.reader() as session:
        labels = session.execute(select(LabelRow.image_id, LabelRow.value).where(tied)).all()
        images = AnnotationRow.image_id.in_(select(LabelRow.image_id).where(tied))
        for row in session.execute(select(*ANSWERS).where(images)):
            by_image[row.image_id].append(row)
    found = []
    for image, value in labels:
        answers = standing(by_image[image])
        said = _said(answers, taxonomy, level)
        label = _cut({task: value}, taxonomy, level)
        if level in taxonomy.quantities:
            _, agreeing = middle(tuple(said.items()))
        else:
            agreeing = sum(one == label for one in said.values())
        agreement = agreeing / len(said)
        if label is not None and agreement <= MAJORITY:
            found.append(Disagreement(image, said, label, agreement))
    return sorted(found, key=lambda one: (one.agreement, one.image))


def _said(answers: list[Any], taxonomy: Taxonomy, level: str) -> dict[str, str]:
    said = {}
    for row in answers:
        value = _cut(said_in(row.text), taxonomy, level) if row.event == "submitted" else None
        if value is not None:
            said[row.annotator] = value
    return said


def _cut(values: Mapping[str, str], taxonomy: Taxonomy, level: str) -> str | None:
    """The path down to a level, all of it where it is shorter; what is said of another task."""
    if level not in taxonomy.levels:
        return values.get(level)
    return truncate(values[LABEL], taxonomy.levels.index(level) + 1) if LABEL in values else None


def _waiting(session: Session) -> set[str]:
    asked = (
        select(QueryRow.image_id)
        .join(Round, Round.number == QueryRow.round_number)
        .where(Round.state == "open", QueryRow.state.not_in(ANSWERED))
    )
    return set(session.scalars(asked))
