"""The four-week protocol: a few labels in a new home, and what the model is worth each week.

Week 1 brings 8 to 20 labels, then every other day three. Labels are asked of the events heard so
far, by the sampler and the head of the live loop; accuracy is measured on held-out events of the
same home. What a level's interval and the back-off are made of is what such a home would have:
out-of-fold predictions on its own labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from atlas.accuracy import Accuracy, wilson
from atlas.batches import Ask, choose_batch
from atlas.candidates import Learned, Taken, look
from atlas.demo.protocol_homes import HELD_OUT, Events
from atlas.demo.protocol_model import Lessons, kinds_of
from atlas.demo.spectrogram import LEVELS
from atlas.evaluation import count_right, fold_probs, predict
from atlas.losses import encode
from atlas.registry import FoldHeads
from atlas.settings import HeadSettings, RoundSettings, ShowingSettings
from atlas.showing import Shown, climb, shown_levels, threshold_for
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import Fit, fit_head, moments
from atlas.types import LABEL, NodePath

WEEK_DAYS = (7, 14, 21, 28)
FIRST_DAYS = (2, 4, 6)
LATER_DAYS = tuple(range(8, 29, 2))
LABELS_A_SESSION = 3
FEWEST_FIRST, MOST_FIRST = 8, 20
MIN_LABELS = 8
"""An interval on fewer labels is not looked at."""

Week = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way of going through the weeks.

    Attributes:
        name: in tables.
        rounds: the sampler.
        lessons: of other homes; None: the plain tree head on bottlenecks.
        head: arguments of the head.
        showing: floor and target.
    """

    name: str
    rounds: RoundSettings
    lessons: Lessons | None = None
    head: Mapping[str, float] = field(default_factory=dict)
    showing: ShowingSettings = field(default_factory=ShowingSettings)


def schedule(valves: int) -> dict[int, int]:
    """Day → labels asked at its end.

    The first week asks for as many labels as the home has valves, 8 to 20, in three sessions; then
    every other day three: 12 in week 2, 9 in week 3, 12 in week 4.
    """
    first = min(max(valves, FEWEST_FIRST), MOST_FIRST)
    shares = [len(part) for part in np.array_split(np.arange(first), len(FIRST_DAYS))]
    return {
        **dict(zip(FIRST_DAYS, shares, strict=True)),
        **dict.fromkeys(LATER_DAYS, LABELS_A_SESSION),
    }


def run_home(events: Events, arm: Arm, *, seed: int) -> list[Week]:
    """Go through four weeks in one home.

    Args:
        events: four weeks and the held-out ones.
        arm: how.
        seed: of the sampler and of the folds.

    Returns:
        One record a week: {"week", "labels", "accuracy": {level: [0, 1]}, "shown": levels,
        "interval": {level: {"accuracy", "low", "high", "n", …}}, "threshold": of the back-off,
        "backoff": see `_back_off`}.
    """
    resident = _Resident(events, arm, seed)
    weeks: list[Week] = []
    for day, labels in schedule(len(events.home.valves)).items():
        resident.label(day, labels)
        if day + 2 > WEEK_DAYS[len(weeks)]:
            weeks.append({"week": len(weeks) + 1, **resident.weigh()})
    return weeks


class _Resident:
    """One home with the labels it has given and the model they made."""

    def __init__(self, events: Events, arm: Arm, seed: int) -> None:
        self.arm, self.seed = arm, seed
        self.paths = [valve.path for valve in events.home.valves]
        self.taxonomy = Taxonomy(LEVELS, tuple(self.paths), {})
        self.events = events
        self.heard = np.flatnonzero(events.days != HELD_OUT)
        self.held_out = np.flatnonzero(events.days == HELD_OUT)
        self.kinds = kinds_of(events.home)
        self.seen: NDArray[np.intp] = self.heard[:0]
        self.labelled: NDArray[np.intp] = self.heard[:0]
        self.fit: Fit | None = None

    def label(self, day: int, labels: int) -> None:
        """Ask about so many of the events heard up to the end of a day, and learn from the answers.

        Rows move a little as more is heard and their middle with it, so all are made anew.
        """
        self.seen = self.heard[self.events.days[self.heard] <= day]
        free = np.setdiff1d(self.seen, self.labelled)
        taken = Taken(self._ids(self.labelled), self._rows(self.labelled), self._labels())
        candidates = look(self._ids(free), self._rows(free), taken, self._learned())
        rng = np.random.default_rng([self.seed, day])
        choice = choose_batch(candidates, (taken.rows,), self.arm.rounds, Ask(labels), rng=rng)
        chosen = free[candidates.positions(choice.batch.ids)]
        self.labelled = np.sort(np.concatenate([self.labelled, chosen]))
        self.fit = self._learn()

    def weigh(self) -> Week:
        """What the model is worth on the held-out events, and what the home would be shown."""
        assert self.fit is not None
        labels = [self.paths[valve] for valve in self.events.valves[self.held_out]]
        targets = encode([{LABEL: label} for label in labels], self.taxonomy).classes
        rows = self._rows(self.held_out)
        counts = count_right(self.fit.head, rows, {k: v.numpy() for k, v in targets.items()})
        interval = _intervals(self.fit)
        levels = shown_levels(interval, LEVELS, self.arm.showing.floor)
        threshold = self._threshold(levels)
        shown = climb(predict(self.fit.head, rows), self.taxonomy, levels, threshold)
        return {
            "labels": len(self.labelled),
            "accuracy": {level: correct / n for level, (correct, n) in counts.items()},
            "interval": {level: one.as_dict() for level, one in interval.items()},
            "shown": list(levels),
            "threshold": threshold,
            "backoff": _back_off(shown, labels),
        }

    def _threshold(self, levels: Sequence[str]) -> float | None:
        fit = self.fit
        if not levels or fit is None or not fit.folds.heads:
            return None
        rows = self._rows(self.labelled)
        probs = fold_probs(fit.folds.heads, fit.folds.of_row, rows)
        labels = [one[LABEL] for one in self._labels()]
        target = self.arm.showing.target
        return threshold_for(probs, labels, self.taxonomy, levels, target=target)

    def _learn(self) -> Fit:
        lessons, arguments = self.arm.lessons, dict[str, Any](self.arm.head)
        settings = HeadSettings(args=arguments)
        middle = moments(self.events.rows[self.seen])
        if lessons is not None:
            arguments |= {"lessons": lessons, "kinds": self.kinds}
            settings = HeadSettings(name="atlas.demo.protocol_model:Informed", args=arguments)
            # projected rows are centred and have their scale already
            width = lessons.projection.shape[1]
            middle = (torch.zeros(width), torch.ones(width))
        return fit_head(
            self._rows(self.labelled),
            self._labels(),
            taxonomy=self.taxonomy,
            settings=settings,
            pool_moments=middle,
            rng=np.random.default_rng([self.seed, len(self.labelled)]),
        )

    def _learned(self) -> Learned | None:
        if self.fit is None:
            return None
        folds = self.fit.folds
        of_image = dict(zip(self._ids(self.labelled), folds.of_row.tolist(), strict=False))
        return Learned(self.fit.head, FoldHeads(folds.heads, of_image))

    def _rows(self, which: NDArray[np.intp]) -> NDArray[np.float32]:
        rows = self.events.rows[which]
        if self.arm.lessons is None:
            return rows.astype(np.float32)
        return self.arm.lessons.project(rows, self.events.rows[self.seen])

    def _labels(self) -> list[Mapping[str, str]]:
        return [{LABEL: self.paths[valve]} for valve in self.events.valves[self.labelled]]

    @staticmethod
    def _ids(which: NDArray[np.intp]) -> list[str]:
        return [f"event {i:05d}" for i in which.tolist()]


def _intervals(fit: Fit) -> dict[str, Accuracy]:
    """Level → out-of-fold accuracy on the home's labels with its Wilson interval."""
    return {
        level: wilson(round(one["accuracy"] * one["n"]), int(one["n"]), min_labels=MIN_LABELS)
        for level, one in fit.out_of_fold.items()
    }


def _back_off(shown: Sequence[Shown], labels: Sequence[NodePath]) -> dict[str, Any]:
    """{"coverage": {level: share of events shown there}, "accuracy": of those shown, or None}."""
    said = [(one, label) for one, label in zip(shown, labels, strict=True) if one.node]
    right = [f"{label}/".startswith(f"{one.node}/") for one, label in said]
    return {
        "coverage": {
            level: sum(one.level == level for one, _ in said) / len(labels) for level in LEVELS
        },
        "accuracy": sum(right) / len(right) if right else None,
    }
