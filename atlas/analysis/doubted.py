"""The labels of a project that its model doubts, with what is needed to settle each."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, Text, case, cast, select
from sqlalchemy.orm import Session

from atlas.analysis.classes import judge, value_at
from atlas.analysis.label_errors import suspects
from atlas.analysis.people import oracle_tasks, said_in
from atlas.analysis.remembered import until_answered
from atlas.analysis.stored import OUT_OF_FOLD, load_predictions
from atlas.chunks import chunks
from atlas.labels import training_labels
from atlas.project import Project
from atlas.store.tables import AnnotationRow, QueryRow
from atlas.taxonomy import Taxonomy


@dataclass(frozen=True)
class Doubt:
    """A label that is probably wrong.

    Attributes:
        image: its id.
        given: the label's class at the level.
        suggested: what it probably should be.
        given_probability: of the given class, by a model that never saw this label; [0, 1].
        suggested_probability: of the suggested one.
        annotators: who labelled it.
        task: the oracle's id of the task, to open it; None where it has none.
    """

    image: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    annotators: tuple[str, ...]
    task: str | None


@dataclass(frozen=True)
class Doubts:
    """The most doubtful labels first.

    Attributes:
        listed: those to look at.
        found: labels that are doubted, those that somebody `confirmed` left out.
        confirmed: doubted labels that were given once more than they were asked for.
        estimate: how many labels are wrong.
        n: labels in all.
    """

    listed: list[Doubt]
    found: int
    confirmed: int
    estimate: float
    n: int


@until_answered
def doubts(project: Project, level: str, model_id: str, *, limit: int) -> Doubts:
    """Labels that the out-of-fold predictions of a model contradict at one level.

    Not those that somebody looked at again and kept: who gave one saved it again, or somebody who
    was not asked said the same.

    Raises:
        ModelError: the model's single predictions are not kept.
    """
    found = load_predictions(project, model_id, OUT_OF_FOLD)
    with project.database.reader() as session:
        labels = training_labels(session)
    judged = judge(found, labels, project.taxonomy, level)
    errors = suspects(judged.probs, judged.labels)
    given = {judged.ids[row]: judged.classes[judged.labels[row]] for row in errors.rows.tolist()}
    with project.database.reader() as session:
        confirmed = _confirmed(session, given, project.taxonomy, level)
    doubted = [
        (row, suggested)
        for row, suggested in zip(errors.rows.tolist(), errors.suggested.tolist(), strict=True)
        if judged.ids[row] not in confirmed
    ]
    ids = [judged.ids[row] for row, _ in doubted[:limit]]
    with project.database.reader() as session:
        tasks = oracle_tasks(session, ids)
        answered = session.execute(
            select(AnnotationRow.image_id, AnnotationRow.annotator)
            .where(AnnotationRow.image_id.in_(ids))
            .distinct()
            .order_by(AnnotationRow.annotator)
        ).all()
    listed = [
        Doubt(
            image=judged.ids[row],
            given=given[judged.ids[row]],
            suggested=judged.classes[suggested],
            given_probability=float(judged.probs[row, judged.labels[row]]),
            suggested_probability=float(judged.probs[row, suggested]),
            annotators=tuple(one.annotator for one in answered if one.image_id == judged.ids[row]),
            task=tasks.get(judged.ids[row]),
        )
        for row, suggested in doubted[:limit]
    ]
    return Doubts(listed, len(doubted), len(confirmed), errors.estimate, len(judged.ids))


def _confirmed(
    session: Session, given: Mapping[str, str], taxonomy: Taxonomy, level: str
) -> set[str]:
    """The images whose class at the level was given more often than people were asked for it."""
    said: Counter[str] = Counter()
    asked: dict[str, dict[str, int]] = defaultdict(dict)
    for chunk in chunks(sorted(given)):
        for row in session.execute(_versions(chunk)):
            if value_at(said_in(row.text), taxonomy, level) == given[row.image_id]:
                said[row.image_id] += 1
                asked[row.image_id][row.query_uid] = row.asked
    return {image for image, times in said.items() if times > sum(asked[image].values())}


def _versions(image_ids: Sequence[str]) -> Select[str, str, str, int]:
    """Every version of every answer that was not deleted, and how many people it was asked of."""
    deleted = select(AnnotationRow.external_id).where(
        AnnotationRow.image_id.in_(image_ids), AnnotationRow.event == "deleted"
    )
    return (
        select(
            AnnotationRow.image_id,
            AnnotationRow.query_uid,
            cast(AnnotationRow.values, Text).label("text"),
            (QueryRow.overlap - case((QueryRow.extra, 1), else_=0)).label("asked"),
        )
        .join(QueryRow, QueryRow.uid == AnnotationRow.query_uid)
        .where(
            AnnotationRow.image_id.in_(image_ids),
            AnnotationRow.event == "submitted",
            AnnotationRow.external_id.not_in(deleted),
        )
    )
