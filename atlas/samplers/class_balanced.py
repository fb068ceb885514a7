"""Class-balanced: images predicted as the classes with the fewest labels."""

import numpy as np
from numpy.typing import NDArray

from atlas.samplers import batch_of, check_finite, check_size
from atlas.samplers._levels import Level, focus_level
from atlas.samplers._reading import chunks
from atlas.types import UNKNOWN, Batch, Candidates

Counts = NDArray[np.intp]


class ClassBalanced:
    """Again and again a random image of the class with the fewest labels and picks so far.

    Stratified sampling by the predicted class (Munro, Human-in-the-Loop Machine Learning, 2021, ch.
    4). A class that no candidate is left of is passed over; ties fall by `rng`. The score is minus
    the labels and picks of the class before the image was taken.

    Args:
        level: see `level_weights`; of several the one of the largest weight.
    """

    needs_model = True

    def __init__(self, level: Level = "auto") -> None:
        self.level = level

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `Sampler`."""
        check_size(candidates, n)
        level = focus_level(candidates, self.level)
        classes = candidates.classes[level]
        predicted = _predicted(candidates, level)
        labels = _labels(candidates, level)
        left = np.bincount(predicted, minlength=len(classes))
        turns, before = fair_turns(labels, left, n=n, rng=rng)
        picked = np.empty(n, dtype=np.intp)
        for k in np.unique(turns):
            own = turns == k
            picked[own] = rng.choice(np.flatnonzero(predicted == k), own.sum(), replace=False)
        reasons = [_reason(classes[k], int(labels[k])) for k in turns]
        return batch_of(candidates, picked, -before.astype(np.float64), reasons)


def fair_turns(
    labels: Counts, left: Counts, *, n: int, rng: np.random.Generator
) -> tuple[Counts, Counts]:
    """(n,) whose turn it is, and (n,) the labels and picks that class had before its turn.

    Whoever has the fewest takes its turn: a class with 3 labels takes turns at 3, 4, 5 …, so the n
    turns are the n lowest of all classes.

    Args:
        labels: (K,) labels of each class.
        left: (K,) candidates of each class; no class takes more turns. At least n in total.
        n: how many turns.
        rng: orders the turns of classes that have equally many.
    """
    turns = np.minimum(left, n)
    whose = np.repeat(np.arange(len(turns)), turns)
    taken = np.arange(len(whose)) - np.repeat(turns.cumsum() - turns, turns)
    before = labels[whose] + taken
    first = np.lexsort((rng.random(len(whose)), before))[:n]
    return whose[first], before[first]


def _predicted(candidates: Candidates, level: str) -> Counts:
    """(N,) the most probable class of each candidate.

    Raises:
        NonFiniteScores: a probability is NaN or infinite.
    """
    probs = candidates.probs[level]
    result = np.empty(len(probs), dtype=np.intp)
    sums = np.empty(len(probs), dtype=np.float32)
    for part in chunks(len(probs)):
        some = probs[part]
        result[part] = some.argmax(axis=1)
        sums[part] = some.sum(axis=1)
    check_finite(sums, candidates.ids)
    return result


def _labels(candidates: Candidates, level: str) -> Counts:
    """(K,) how many labelled images are known to be of each class."""
    known = candidates.labelled_classes.get(level, np.empty(0, dtype=np.int64))
    return np.bincount(known[known != UNKNOWN], minlength=len(candidates.classes[level]))


def _reason(path: str, labels: int) -> str:
    """Such as "predicted ship, which has 3 labels so far"."""
    has = "no label yet" if not labels else f"{labels} label{'s' * (labels > 1)} so far"
    return f"predicted {path.rpartition('/')[2]}, which has {has}"


SAMPLER = ClassBalanced
