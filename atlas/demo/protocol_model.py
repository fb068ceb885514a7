"""What other homes teach about a new one: which directions tell valves apart, and kinds of valve.

Valves are a home's own, but a toilet sounds like a toilet everywhere. From homes whose events are
known two linear maps are learned on top of the frozen backbone: a projection in which uses of one
valve lie close together, and scores of the kinds of valve, which a new home's head starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
import torch
from torch import Tensor

from atlas.demo.home import Home
from atlas.demo.protocol_homes import Events
from atlas.demo.source import VALVES, valve_class
from atlas.heads.tree import Tree
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import fit_head
from atlas.types import LABEL

Matrix = NDArray[np.float32]

SHRINK = 0.02
"""How far the spread within valves is drawn towards equal spread in every direction."""
KINDS_L2 = 1e-3


@dataclass(frozen=True)
class Lessons:
    """What other homes taught.

    Attributes:
        projection: (D, d); rows of a home, less their mean, times it have a spread of about 1
            within a valve.
        weight: (d, kinds) scores of the kinds of valve, `atlas.demo.source.VALVES`, from projected
            rows.
        bias: (kinds,).
    """

    projection: Matrix
    weight: Matrix
    bias: Matrix

    def project(self, rows: NDArray[np.floating], seen: NDArray[np.floating]) -> Matrix:
        """(N, D) bottlenecks → (N, d), centred on those seen so far, (M, D): no labels needed."""
        middle = seen.astype(np.float32).mean(axis=0)
        result: Matrix = (rows.astype(np.float32) - middle) @ self.projection
        return result


def learn_lessons(homes: Sequence[Events], *, dimensions: int) -> Lessons:
    """Learn from homes whose events are all known, one or more.

    The kinds are the tree head of one level, as any project would fit it.
    """
    rows = [one.rows.astype(np.float32) - one.rows.mean(axis=0, dtype=np.float32) for one in homes]
    projection = fisher_directions(rows, [one.valves for one in homes], dimensions)
    kinds = np.concatenate([kinds_of(one.home)[one.valves] for one in homes])
    taxonomy = Taxonomy(("kind",), VALVES, {})
    head = fit_head(
        np.concatenate(rows) @ projection,
        [{LABEL: VALVES[kind]} for kind in kinds],
        taxonomy=taxonomy,
        settings=HeadSettings(args={"l2": KINDS_L2}),
        pool_moments=(torch.zeros(dimensions), torch.ones(dimensions)),
        rng=np.random.default_rng(0),
    ).head
    layer = head.get_submodule("leaves")
    weight, bias = (layer.get_parameter(name).detach() for name in ("weight", "bias"))
    calibrated = (weight.T / head.temperature, bias / head.temperature)
    return Lessons(projection, *(part.numpy().astype(np.float32) for part in calibrated))


def fisher_directions(
    rows: Sequence[Matrix], valves: Sequence[NDArray[np.int64]], dimensions: int
) -> Matrix:
    """(D, d) directions in which a home's valves differ most for their own spread.

    Fisher's linear discriminant over all valves of all homes: the generalised eigenvectors of the
    covariance between a home's valves and the pooled one within valves, largest first, scaled to
    variance 1 within valves (Fisher 1936; Rao 1948).

    Args:
        rows: a home: (N, D) bottlenecks less their mean.
        valves: a home: (N,) which valve.
        dimensions: d, at most D.
    """
    features = rows[0].shape[1]
    within: NDArray[np.float64] = np.zeros((features, features))
    between = np.zeros_like(within)
    for one, valve in zip(rows, valves, strict=True):
        used, number, counts = np.unique(valve, return_inverse=True, return_counts=True)
        sums = np.zeros((len(used), features))
        np.add.at(sums, number, one)
        means = sums / counts[:, None]
        rest = one - means[number]
        within += rest.T @ rest
        between += (means * counts[:, None]).T @ means
    total = sum(len(one) for one in rows)
    within, between = within / total, between / total
    level = np.trace(within) / features
    within = (1 - SHRINK) * within + SHRINK * level * np.eye(features)
    _, directions = eigh(between, within, subset_by_index=(features - dimensions, features - 1))
    result: Matrix = directions[:, ::-1].astype(np.float32)
    return result


def kinds_of(home: Home) -> NDArray[np.intp]:
    """(valves,) which of `VALVES` each valve is: a home's residents know what they own."""
    return np.array([VALVES.index(valve_class(valve)) for valve in home.valves], dtype=np.intp)


class Informed(Tree):
    """The tree head, starting from what other homes say of the kinds of valve.

    A leaf's score is that of its kind less the logarithm of how many leaves are of this kind, plus
    what the home's own labels teach. Without a label it says what the kind says.

    Args:
        features: d.
        taxonomy: one home's.
        lessons: of other homes.
        kinds: (leaves,) which kind each leaf is.
        l2: weight penalty.
        trust: times the kinds' scores, 0 or more.
    """

    start: Tensor
    start_bias: Tensor

    def __init__(
        self,
        features: int,
        taxonomy: Taxonomy,
        lessons: Lessons,
        kinds: NDArray[np.intp],
        l2: float = 0.2,
        trust: float = 1.0,
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        alike = np.bincount(kinds, minlength=len(VALVES))[kinds]
        bias = lessons.bias[kinds] - np.log(alike)
        self.register_buffer("start", torch.from_numpy(trust * lessons.weight[:, kinds]).float())
        self.register_buffer("start_bias", torch.from_numpy(trust * bias).float())

    def leaf_scores(self, x: Tensor) -> Tensor:
        """See `Head`."""
        return super().leaf_scores(x) + x @ self.start + self.start_bias
