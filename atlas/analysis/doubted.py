"""The labels of a project that its model doubts, with what is needed to settle each."""

from dataclasses import dataclass

from sqlalchemy import select

from atlas.analysis.classes import judge
from atlas.analysis.label_errors import suspects
from atlas.analysis.people import oracle_tasks
from atlas.analysis.remembered import until_answered
from atlas.analysis.stored import OUT_OF_FOLD, load_predictions
from atlas.labels import training_labels
from atlas.project import Project
from atlas.store.tables import AnnotationRow


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
    """The most doubtful labels first; `found` of `n` labels are doubted, `estimate` are wrong."""

    listed: list[Doubt]
    found: int
    estimate: float
    n: int


@until_answered
def doubts(project: Project, level: str, model_id: str, *, limit: int) -> Doubts:
    """Labels that the out-of-fold predictions of a model contradict at one level.

    Raises:
        ModelError: the model's single predictions are not kept.
    """
    found = load_predictions(project, model_id, OUT_OF_FOLD)
    with project.database.reader() as session:
        labels = training_labels(session)
    judged = judge(found, labels, project.taxonomy, level)
    errors = suspects(judged.probs, judged.labels)
    rows = errors.rows[:limit].tolist()
    ids = [judged.ids[row] for row in rows]
    with project.database.reader() as session:
        tasks = oracle_tasks(session, ids)
        given = session.execute(
            select(AnnotationRow.image_id, AnnotationRow.annotator)
            .where(AnnotationRow.image_id.in_(ids))
            .distinct()
            .order_by(AnnotationRow.annotator)
        ).all()
    listed = [
        Doubt(
            image=judged.ids[row],
            given=judged.classes[judged.labels[row]],
            suggested=judged.classes[suggested],
            given_probability=float(judged.probs[row, judged.labels[row]]),
            suggested_probability=float(judged.probs[row, suggested]),
            annotators=tuple(one.annotator for one in given if one.image_id == judged.ids[row]),
            task=tasks.get(judged.ids[row]),
        )
        for row, suggested in zip(rows, errors.suggested.tolist(), strict=False)
    ]
    return Doubts(listed, len(errors.rows), errors.estimate, len(judged.ids))
