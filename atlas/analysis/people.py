"""The people who label: how fast, how much alike, and whether they follow the model's guess."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
import json
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from atlas.accuracy import Accuracy, wilson
from atlas.analysis.agreement import Said, Share, fleiss_kappa, of_classes, with_others
from atlas.analysis.classes import value_at
from atlas.analysis.remembered import until_answered
from atlas.labels import present
from atlas.project import Project
from atlas.store.tables import AnnotationRow, QueryRow
from atlas.taxonomy import Taxonomy

ANSWERS = (
    AnnotationRow.id,
    AnnotationRow.external_id,
    AnnotationRow.query_uid,
    AnnotationRow.image_id,
    AnnotationRow.event,
    cast(AnnotationRow.values, Text).label("text"),  # few differ, so each is parsed once
    AnnotationRow.annotator,
    AnnotationRow.updated_at,
    AnnotationRow.lead_time_s,
    AnnotationRow.prefill,
)


@dataclass(frozen=True)
class Person:
    """What one person did.

    Attributes:
        annotator: their id; `names` says what they are called.
        answered: queries answered.
        skipped: queries skipped.
        seconds: a label, the median; None where the oracle told no times.
        agreement: with most of the others, on the images that others labelled too.
        accepted: of the guesses that were shown, how many the answer keeps at the level.
    """

    annotator: str
    answered: int
    skipped: int
    seconds: float | None
    agreement: Accuracy
    accepted: Accuracy


@dataclass(frozen=True)
class Team:
    """Everybody.

    Attributes:
        people: the busiest first.
        classes: class → agreement on it, where two or more people labelled an image that one of
            them called so.
        kappa: Fleiss' κ; None where nothing can be said.
        shared: images that two or more people labelled.
    """

    people: list[Person]
    classes: dict[str, Accuracy]
    kappa: float | None
    shared: int


def standing_answers(session: Session) -> list[Any]:
    """Every answer that still stands, of an image the oldest first.

    Rows with the columns `ANSWERS`; of `text`, what was said, see `said_in`.
    """
    by_image: dict[str, list[Any]] = defaultdict(list)
    for row in session.execute(select(*ANSWERS)):
        by_image[row.image_id].append(row)
    found: list[Any] = []
    for rows in by_image.values():
        found += rows if len(rows) == 1 and rows[0].event != "deleted" else present(rows)
    return found


@lru_cache(maxsize=4096)
def said_in(text: str) -> Mapping[str, str]:
    """Task → value, from the `text` of an answer."""
    return dict(json.loads(text))


@until_answered
def team(project: Project, level: str) -> Team:
    """Who labelled how, as agreement at one level or attribute.

    Args:
        project: whose annotations.
        level: at which answers are compared; one that stops above it does not count.
    """
    with project.database.reader() as session:
        answers = standing_answers(session)
        guesses = _changed_guesses(session)
    same = {
        row.id
        for row in answers
        if row.query_uid in guesses
        and _agree(guesses[row.query_uid], row.text, project.taxonomy, level)
    }
    said = [one for one in said_at(answers, project.taxonomy, level) if len(one) > 1]
    least = project.settings.audit.min_labels
    by_person: dict[str, list[Any]] = defaultdict(list)
    for row in answers:
        by_person[row.annotator].append(row)
    agreeing, of_class = with_others(said), of_classes(said)
    people = [
        _person(name, rows, same, agreeing.get(name, Share(0, 0)), least)
        for name, rows in by_person.items()
    ]
    return Team(
        people=sorted(people, key=lambda one: (-one.answered, one.annotator)),
        classes={
            name: _accuracy(of_class[name], least)
            for name in project.taxonomy.tasks[level]
            if name in of_class
        },
        kappa=fleiss_kappa(said),
        shared=len(said),
    )


def said_at(answers: Sequence[Any], taxonomy: Taxonomy, level: str) -> Said:
    """What each person says of each image at a level; of several answers of one the latest."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    known = {
        text: value_at(said_in(text), taxonomy, level)
        for text in {row.text for row in answers if row.event == "submitted"}
    }
    for row in answers:
        value = known[row.text] if row.event == "submitted" else None
        if value is not None:
            found[row.image_id][row.annotator] = value
    return list(found.values())


def oracle_tasks(session: Session, image_ids: Sequence[str]) -> Mapping[str, str]:
    """Image id → the oracle's id of its latest task, where it has one; some hundred ids at most."""
    asked = (
        select(QueryRow.image_id, QueryRow.task_id)
        .where(QueryRow.image_id.in_(image_ids), QueryRow.task_id.is_not(None))
        .order_by(QueryRow.round_number)
    )
    return {row.image_id: row.task_id for row in session.execute(asked)}


def _changed_guesses(session: Session) -> dict[str, str]:
    """Query → the guess that was shown with it, as JSON, where somebody changed it."""
    changed = select(AnnotationRow.query_uid).where(AnnotationRow.prefill == "changed")
    guesses = select(QueryRow.uid, cast(QueryRow.guess, Text).label("text"))
    return {row.uid: row.text for row in session.execute(guesses.where(QueryRow.uid.in_(changed)))}


def _agree(guess: str, answer: str, taxonomy: Taxonomy, level: str) -> bool:
    """Whether the answer says at the level what the guess says, whatever else was changed."""
    value = value_at(said_in(answer), taxonomy, level)
    return value is not None and value == value_at(said_in(guess), taxonomy, level)


def _person(
    annotator: str, rows: Sequence[Any], same: Collection[int], agreeing: Share, least: int
) -> Person:
    given = [row for row in rows if row.event == "submitted"]
    skipped = {row.query_uid for row in rows if row.event == "skipped"}
    guessed = [row for row in given if row.prefill != "none"]
    kept = sum(row.prefill == "accepted" or row.id in same for row in guessed)
    times = sorted(row.lead_time_s for row in given if row.lead_time_s is not None)
    return Person(
        annotator=annotator,
        answered=len({row.query_uid for row in given}),
        skipped=len(skipped),
        seconds=_median(times),
        agreement=_accuracy(agreeing, least),
        accepted=_accuracy(Share(kept, len(guessed)), least),
    )


def _median(values: Sequence[float]) -> float | None:
    size = len(values)
    return (values[(size - 1) // 2] + values[size // 2]) / 2 if size else None


def _accuracy(one: Share, least: int) -> Accuracy:
    return wilson(one.count, one.n, min_labels=least)
