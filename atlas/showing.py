"""What of a model is shown: the levels that are reliable and, of each image, the finest sure node.

A level is shown once the lower bound of its accuracy interval is above a floor, coarse levels
first. Of an image the best class of the finest shown level is shown where it is sure enough, else
the nearest node above it that is (Goren, Galil & El-Yaniv 2024, hierarchical selective
classification).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import ceil

import numpy as np
from numpy.typing import NDArray

from atlas.accuracy import Accuracy
from atlas.taxonomy import Taxonomy, truncate
from atlas.types import NodePath

MAJORITY = 0.5
"""No threshold is below it, so that what is shown is the most likely class of its level."""

ROUNDING = 1e-9


@dataclass(frozen=True)
class Shown:
    """What is said of one image.

    Attributes:
        node: a class, "" where not even the coarsest is sure enough.
        level: the finest shown level that the node answers, "" without a node.
        probability: of the node, in [0, 1]; 1 without one, as something it is.
    """

    node: NodePath
    level: str
    probability: float


def shown_levels(
    accuracy: Mapping[str, Accuracy], levels: Sequence[str], floor: float
) -> tuple[str, ...]:
    """The reliable levels, from the coarsest to the last before one that is not.

    Args:
        accuracy: level → its interval; a level that is missing is not reliable.
        levels: coarse to fine.
        floor: in [0, 1], what the lower bound must be above.
    """

    def reliable(level: str) -> bool:
        one = accuracy.get(level)
        return one is not None and one.state == "ok" and one.low is not None and one.low > floor

    return tuple(takewhile(reliable, levels))


def climb(
    probs: Mapping[str, NDArray[np.floating]],
    taxonomy: Taxonomy,
    levels: Sequence[str],
    threshold: float | None,
) -> list[Shown]:
    """Of each image the finest node on the way up from its best class that is sure enough.

    Args:
        probs: level → (N, K), coherent: children sum to their parent.
        taxonomy: of these levels.
        levels: the shown ones, coarse to fine; the climb begins at the last. Without any nothing
            is said.
        threshold: see `threshold_for`; None: nothing is said.
    """
    if not levels or threshold is None:
        rows = len(next(iter(probs.values())))
        return [Shown("", "", 1.0)] * rows
    classes, sureness = _way_up(probs, taxonomy, levels)
    result = []
    for row, on_the_way in enumerate(sureness):
        sure = np.flatnonzero(on_the_way >= threshold)
        if not len(sure):
            result.append(Shown("", "", 1.0))
            continue
        level = levels[int(sure[-1])]
        node = taxonomy.classes[level][classes[row, sure[-1]]]
        result.append(Shown(node, level, float(on_the_way[sure[-1]])))
    return result


def threshold_for(
    probs: Mapping[str, NDArray[np.floating]],
    labels: Sequence[NodePath],
    taxonomy: Taxonomy,
    levels: Sequence[str],
    *,
    target: float,
) -> float | None:
    """The least probability at which what is shown is right for `target` of new images.

    An image is shown wrongly at every threshold up to the largest probability of a wrong node on
    its way up. With n labels in no special order, the ⌈(n + 1) · target⌉-th smallest of these
    bounds the next image's with probability `target` or more (split conformal prediction, with the
    finite-sample n + 1). Saying nothing counts as right: coverage is reported beside.

    The promise needs labels drawn like the images it is kept on. Labels that a sampler chose are
    mostly harder, which makes the threshold cautious, not exact.

    Args:
        probs: level → (n, K), each row by a head that never saw it.
        labels: n labelled nodes; what lies below a label that stops half-way counts as wrong.
        taxonomy: of these levels.
        levels: the shown ones, one or more, coarse to fine.
        target: in (0, 1).

    Returns:
        In [0.5, 1]; None where so few labels can promise nothing.
    """
    wanted = ceil((len(labels) + 1) * target - ROUNDING)
    if wanted > len(labels):
        return None
    classes, sureness = _way_up(probs, taxonomy, levels)
    wrong_up_to: NDArray[np.float64] = np.zeros(len(labels))
    for column, level in enumerate(levels):
        names = taxonomy.classes[level]
        right = np.array(
            [
                f"{label}/".startswith(f"{names[index]}/")
                for label, index in zip(labels, classes[:, column], strict=True)
            ]
        )
        wrong_up_to = np.where(right, wrong_up_to, np.maximum(wrong_up_to, sureness[:, column]))
    bound = float(np.nextafter(np.sort(wrong_up_to)[wanted - 1], 2.0))
    return None if bound > 1 else max(bound, MAJORITY)


def _way_up(
    probs: Mapping[str, NDArray[np.floating]], taxonomy: Taxonomy, levels: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(N, levels) class index and probability at each level, of the last level's best class."""
    finest = taxonomy.classes[levels[-1]]
    best = probs[levels[-1]].argmax(axis=1)
    rows = np.arange(len(best))
    classes, sureness = [], []
    for depth, level in enumerate(levels, start=1):
        index = {path: i for i, path in enumerate(taxonomy.classes[level])}
        above = np.array([index[truncate(path, depth)] for path in finest], dtype=np.intp)[best]
        classes.append(above)
        sureness.append(probs[level][rows, above].astype(np.float64))
    return np.stack(classes, axis=1), np.stack(sureness, axis=1)
