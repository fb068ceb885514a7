"""How good a model is at each class of a level, and what it takes for what.

Over the labelled audit images alone, as every figure that may be quoted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.accuracy import wilson
from atlas.analysis.stored import AUDIT, Predictions, load_predictions, model_or_current
from atlas.errors import ModelError, TaxonomyError
from atlas.labels import LabelsByImage, audit_labels
from atlas.project import Project
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL


@dataclass(frozen=True)
class Judged:
    """Predictions at one task beside the labels that people gave.

    Attributes:
        classes: K class names.
        ids: n image ids.
        labels: (n,) index of each image's label.
        probs: (n, K) in [0, 1].
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the most likely class of each image."""
        best: NDArray[np.int64] = self.probs.argmax(axis=1).astype(np.int64)
        return best

    @property
    def sure(self) -> NDArray[np.float64]:
        """(n,) its probability, in [0, 1]."""
        sure: NDArray[np.float64] = self.probs.max(axis=1, initial=0).astype(np.float64)
        return sure

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether it is the label."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right


@dataclass(frozen=True)
class Mistake:
    """One class taken for another.

    Attributes:
        label: what people say it is.
        predicted: what the model took it for.
        count: audit images on which it did.
        share: of the label's audit images, in (0, 1].
        wrong: the image of which the model was most sure, wrongly.
        right: the image of class `predicted` of which it was most sure, rightly; None without one.
    """

    label: str
    predicted: str
    count: int
    share: float
    wrong: str
    right: str | None


def class_accuracies(
    project: Project, level: str, model_id: str | None = None
) -> list[dict[str, Any]]:
    """Of each class at a level the share of its audit images that is predicted right.

    Args:
        project: whose audit set.
        level: of the taxonomy, or an attribute.
        model_id: None: the one that answers now. Before the first model nothing is measured.

    Returns:
        One {"class", "accuracy", "low", "high", "n", "state"} a class, as in `accuracy.Accuracy`.

    Raises:
        TaxonomyError: no such level.
        ModelError: no such model, or one whose single predictions are not kept.
    """
    known = _classes_of(project, level)
    chosen = model_or_current(project, model_id)
    judged = nothing_judged(known) if chosen is None else judge_audit(project, level, chosen)
    least = project.settings.audit.min_labels
    result = []
    for index, name in enumerate(judged.classes):
        mine = judged.labels == index
        found = wilson(int(judged.right[mine].sum()), int(mine.sum()), min_labels=least).as_dict()
        result.append({"class": name, **{key: found[key] for key in _KEYS}})
    return result


_KEYS = ("accuracy", "low", "high", "n", "state")


def judge_audit(project: Project, level: str, model_id: str) -> Judged:
    """A model's stored predictions of the audit images that are labelled by now.

    Raises:
        TaxonomyError: no such level.
        ModelError: the model's predictions are not kept, or it knows no such level.
    """
    _classes_of(project, level)
    found = load_predictions(project, model_id, AUDIT)
    with project.database.reader() as session:
        labels = audit_labels(session)
    if level not in found.probs:
        raise ModelError(f"model {model_id} was trained before there was a {level}; train again")
    return judge(found, labels, project.taxonomy, level)


def judge(found: Predictions, labels: LabelsByImage, taxonomy: Taxonomy, level: str) -> Judged:
    """Put labels beside predictions; an image without one of the two is left out."""
    index = {name: i for i, name in enumerate(found.classes[level])}
    told = np.isfinite(found.probs[level].sum(axis=1))
    key = level if level in taxonomy.attributes else LABEL
    known: dict[str | None, str | None] = {None: None}  # few labels differ
    rows, wanted = [], []
    for row, image_id in enumerate(found.ids):
        values = labels.get(image_id, {})
        said = values.get(key)
        if said not in known:
            known[said] = value_at(values, taxonomy, level)
        value = known[said]
        if value in index and told[row]:
            rows.append(row)
            wanted.append(index[value])
    return Judged(
        found.classes[level],
        tuple(found.ids[row] for row in rows),
        np.array(wanted, dtype=np.int64),
        found.probs[level][np.array(rows, dtype=np.intp)],
    )


def nothing_judged(classes: tuple[str, ...]) -> Judged:
    """What is known before the first model."""
    empty = np.zeros((0, len(classes)), dtype=np.float32)
    return Judged(classes, (), np.zeros(0, dtype=np.int64), empty)


def value_at(values: Mapping[str, str], taxonomy: Taxonomy, level: str) -> str | None:
    """A label's class at a level or of an attribute; None where it does not say."""
    if level in taxonomy.attributes:
        return values.get(level)
    return taxonomy.at_level(values[LABEL], level) if LABEL in values else None


def confusion(judged: Judged) -> NDArray[np.int64]:
    """(K, K) audit images: row = what people say, column = what the model says."""
    size = len(judged.classes)
    cells = judged.labels * size + judged.predicted
    return np.bincount(cells, minlength=size**2).reshape(size, size).astype(np.int64)


def worst_mistakes(judged: Judged, *, limit: int) -> list[Mistake]:
    """The most frequent confusions, the most frequent first; of equal ones the larger share."""
    counts = confusion(judged)
    sizes = counts.sum(axis=1)
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    found = [(int(a), int(b)) for a, b in np.argwhere(wrong)]
    found.sort(key=lambda pair: (-wrong[pair], -wrong[pair] / sizes[pair[0]], pair))
    return [_mistake(judged, *pair) for pair in found[:limit]]


def _mistake(judged: Judged, label: int, predicted: int) -> Mistake:
    taken = judged.predicted == predicted
    wrong = np.flatnonzero(taken & (judged.labels == label))
    right = np.flatnonzero(taken & judged.right)
    return Mistake(
        label=judged.classes[label],
        predicted=judged.classes[predicted],
        count=len(wrong),
        share=len(wrong) / int((judged.labels == label).sum()),
        wrong=judged.ids[_surest(judged, wrong)],
        right=judged.ids[_surest(judged, right)] if len(right) else None,
    )


def _surest(judged: Judged, rows: NDArray[np.intp]) -> int:
    return int(rows[judged.sure[rows].argmax()])


def _classes_of(project: Project, level: str) -> tuple[str, ...]:
    tasks = project.taxonomy.tasks
    if level not in tasks:
        raise TaxonomyError(f"no level {level!r}; known: {', '.join(tasks)}")
    return tasks[level]
