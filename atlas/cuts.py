"""Where to cut the backbone: the project's head on bottlenecks taken at several depths of it.

Labelled images alone are embedded, all depths in one pass. Each depth is judged by heads that
never saw the image (the folds of the fit, the same at every depth), so depths compare in pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from atlas.accuracy import Accuracy, wilson
from atlas.backbone import Backbone, Cut
from atlas.embedding import Progress, Work, embedded, project_backbone
from atlas.errors import TrainingError
from atlas.evaluation import fold_probs
from atlas.gate import mcnemar
from atlas.labels import LabelsByImage, training_labels
from atlas.losses import MISSING, encode
from atlas.project import Project
from atlas.store.tables import Image
from atlas.train import TrainingData, learn
from atlas.training.fit_heads import Fit
from atlas.training.folds import MIN_PER_FOLD

SIGNIFICANT = 0.05
TIMED_PASSES = 3
Right = NDArray[np.float64]  # (N,): 1 right, 0 wrong, NaN where the label does not say


@dataclass(frozen=True)
class Depth:
    """What a cut costs and how good heads on it are.

    Attributes:
        cut: its name, for `backbone.cut`.
        features: D.
        bytes_per_image: of its bottleneck, float16.
        images_per_s: of the network's forward up to there, without reading images.
        accuracy: level or attribute → out-of-fold accuracy on the labelled images.
    """

    cut: str
    features: int
    bytes_per_image: int
    images_per_s: float
    accuracy: dict[str, Accuracy]


@dataclass(frozen=True)
class CutReport:
    """Every depth that was tried, shallow to deep.

    Attributes:
        present: the project's cut.
        best: the cut with most right answers at `level`; the present one where that is as good.
        p_value: of the exact McNemar test of best against present; 1 where they are the same.
        level: the finest level.
        labels: images that were used.
        left_out: image id → why it could not be read.
        depths: what was measured.
    """

    present: str
    best: str
    p_value: float
    level: str
    labels: int
    left_out: dict[str, str]
    depths: tuple[Depth, ...]

    @property
    def better(self) -> bool:
        """Whether `best` beats `present` by more than luck, bearing in mind how many were tried."""
        return self.p_value < SIGNIFICANT / max(1, len(self.depths) - 1)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "better": self.better}


def where_to_cut(
    project: Project, *, depths: int = 5, sample: int = 2000, progress: Progress | None = None
) -> CutReport:
    """Compare cuts of the project's backbone on its labelled images.

    Args:
        project: with labels; the pool need not be embedded.
        depths: how many cuts above the classifier's input to try, evenly spread, the deepest
            among them; that input and the present cut always come with them.
        sample: labelled images to use at most, drawn at random by the project's seed.
        progress: called with (done, total) images.

    Raises:
        TrainingError: fewer labels than a cross-validation needs.
        BackboneError: see `Backbone`.
    """
    backbone = project_backbone(project)
    cuts = spread(backbone.cuts, depths, keep=backbone.cut)
    labels, work = _labelled(project, sample)
    rows, left_out = _rows(work, backbone, cuts, progress)
    known = [one for one in work if one.sha256 in rows]
    values = [labels[one.image_id] for one in known]
    _check(len(values), project.settings.head.folds)
    matrix = np.stack([rows[one.sha256] for one in known])
    ends = np.cumsum([cut.features for cut in cuts])
    found = []
    for cut, columns in zip(cuts, np.split(matrix, ends[:-1], axis=1), strict=True):
        data = TrainingData(columns, values, columns)
        fit = learn(data, project.taxonomy, project.settings.head, seed=project.settings.seed)
        found.append((cut, out_of_fold(fit, columns, values)))
    speeds = [images_per_s(backbone, cut) for cut in cuts]
    level = project.taxonomy.levels[-1]
    present = next(right[level] for cut, right in found if cut == backbone.cut)
    best, right = max(
        ((cut, right[level]) for cut, right in found),
        key=lambda one: (np.nansum(one[1]), one[0] == backbone.cut),
    )
    return CutReport(
        backbone.cut.name,
        best.name,
        mcnemar(int((right > present).sum()), int((right < present).sum()), either_way=True),
        level,
        len(values),
        left_out,
        tuple(_depth(*one, speed) for one, speed in zip(found, speeds, strict=True)),
    )


def spread(cuts: Sequence[Cut], depths: int, *, keep: Cut) -> tuple[Cut, ...]:
    """`depths` of the cuts above the last, evenly spread, the deepest among them; `keep`; the last.

    Args:
        cuts: shallow to deep.
        depths: 0 or more; all where there are no more.
        keep: one of `cuts`.
    """
    inner = len(cuts) - 1
    steps = min(depths, inner)
    chosen = {round(inner * (i + 1) / steps) - 1 for i in range(steps)}
    return tuple(cut for i, cut in enumerate(cuts) if i in chosen or i == inner or cut == keep)


def out_of_fold(
    fit: Fit, rows: NDArray[np.float16], labels: Sequence[Mapping[str, str]]
) -> dict[str, Right]:
    """Level or attribute → (N,) whether the head that never saw the row is right."""
    wanted = encode(labels, fit.head.taxonomy).classes
    result: dict[str, Right] = {}
    for task, probs in fold_probs(fit.folds.heads, fit.folds.of_row, rows).items():
        truth = wanted[task].numpy()
        result[task] = np.where(truth == MISSING, np.nan, probs.argmax(axis=1) == truth)
    return result


def images_per_s(backbone: Backbone, cut: Cut) -> float:
    """How many images a second a backbone embeds, without reading them.

    Of the fastest of a few batches, after one to warm up; grey pixels cost what others do.
    """
    size = (backbone.settings.batch_size, backbone.image_size, backbone.image_size, 3)
    pixels = np.full(size, 128, dtype=np.uint8)
    backbone.embed_at([cut], pixels)
    seconds = []
    for _ in range(TIMED_PASSES):
        started = time.perf_counter()
        backbone.embed_at([cut], pixels)  # the copy to the CPU waits for an accelerator
        seconds.append(time.perf_counter() - started)
    return len(pixels) / min(seconds)


def _labelled(project: Project, sample: int) -> tuple[LabelsByImage, list[Work]]:
    with project.database.reader() as session:
        labels = training_labels(session)
        found = session.execute(select(Image.id, Image.sha256, Image.location).order_by(Image.id))
        work = [
            Work(image_id, sha256, project.absolute(location))
            for image_id, sha256, location in found
            if image_id in labels
        ]
    if len(work) > sample:
        rng = np.random.default_rng(project.settings.seed)
        work = [work[i] for i in np.sort(rng.choice(len(work), sample, replace=False))]
    _check(len(work), project.settings.head.folds)
    return labels, work


def _check(labels: int, folds: int) -> None:
    if labels < MIN_PER_FOLD * folds:
        raise TrainingError(
            f"{labels} labelled images are too few to compare cuts by cross-validation; "
            f"{MIN_PER_FOLD * folds} are needed for head.folds = {folds}"
        )


def _rows(
    work: Sequence[Work], backbone: Backbone, cuts: Sequence[Cut], progress: Progress | None
) -> tuple[dict[str, NDArray[np.float16]], dict[str, str]]:
    """Content hash → the bottlenecks of all cuts side by side; image id → why it is left out."""
    rows: dict[str, NDArray[np.float16]] = {}
    left_out: dict[str, str] = {}
    for part in embedded(work, backbone, embed=partial(backbone.embed_at, cuts)):
        rows.update(zip(part.hashes, part.vectors, strict=False))
        left_out.update(part.left_out)
        if progress is not None:
            progress(len(rows) + len(left_out), len(work))
    return rows, left_out


def _depth(cut: Cut, right: Mapping[str, Right], speed: float) -> Depth:
    accuracy = {}
    for task, answers in right.items():
        told = answers[~np.isnan(answers)]
        accuracy[task] = wilson(int(told.sum()), len(told), min_labels=1)
    size = cut.features * np.dtype(np.float16).itemsize
    return Depth(cut.name, cut.features, size, round(speed, 1), accuracy)
