"""scikit-activeml's strategies as samplers, for the same rounds and the same heads as Atlas's own.

    python benchmarks/label_efficiency.py … --samplers "random,by_budget@finest,peer_samplers:Badge"

A peer is given what Atlas's samplers are given: bottlenecks of length 1 (Badge: as they are), the
labels at the finest level, and the head's probabilities. DropQuery asks its classifier about rows
that it damages, so it gets a logistic regression of its own.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sampler_peers import known_head
from skactiveml import pool
from skactiveml.classifier import SklearnClassifier
from sklearn.linear_model import LogisticRegression

from atlas.neighbors import unit_rows
from atlas.samplers import batch_of, check_size
from atlas.types import UNKNOWN, Batch, Candidates


class Peer:
    """One strategy of scikit-activeml; a subclass names it."""

    needs_model = False
    strategy: ClassVar[Callable[..., Any]]
    arguments: ClassVar[dict[str, Any]] = {}

    def rows(self, bottlenecks: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the strategy measures distances on, (N, D)."""
        return unit_rows(bottlenecks)

    def classifier(
        self, x: NDArray[np.float32], y: NDArray[np.float64], candidates: Candidates
    ) -> tuple[Any, ...]:
        """The arguments of `query` between the data and the candidates."""
        return ()

    def query_arguments(self) -> dict[str, Any]:
        """Of `query`, by name."""
        return {}

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """See `atlas.samplers.Sampler`; scores say the order alone."""
        check_size(candidates, n)
        size = len(candidates.ids)
        parts = [candidates.bottlenecks, candidates.labelled]
        rows = [np.asarray(part[:], np.float32) for part in parts if len(part)]
        x = self.rows(np.concatenate(rows))
        y = np.full(len(x), np.nan)
        if len(candidates.labelled):
            known = candidates.labelled_classes[finest(candidates)]
            y[size:] = np.where(known == UNKNOWN, np.nan, known)
        strategy = type(self).strategy(random_state=int(rng.integers(2**31)), **self.arguments)
        picks = strategy.query(
            x,
            y,
            *self.classifier(x, y, candidates),
            candidates=np.arange(size),
            batch_size=n,
            **self.query_arguments(),
        )
        reasons = [f"chosen by scikit-activeml's {type(strategy).__name__}"] * n
        return batch_of(candidates, np.asarray(picks), np.arange(n, 0, -1, dtype=float), reasons)


class PeerWithHead(Peer):
    """A strategy that reads the head's probabilities."""

    needs_model = True

    def classifier(
        self, x: NDArray[np.float32], y: NDArray[np.float64], candidates: Candidates
    ) -> tuple[Any, ...]:
        """The head, which answers about the candidates alone, as it is asked about them alone."""
        return (known_head(np.asarray(candidates.probs[finest(candidates)][:])),)

    def query_arguments(self) -> dict[str, Any]:
        """The head is fitted already."""
        return {"fit_clf": False}


def finest(candidates: Candidates) -> str:
    """The level that peers ask at."""
    return list(candidates.classes)[-1]


class Badge(PeerWithHead):
    """Gradients and D² sampling."""

    strategy = pool.Badge

    def rows(self, bottlenecks: NDArray[np.float32]) -> NDArray[np.float32]:
        """A gradient is not scaled."""
        return bottlenecks


class Clue(PeerWithHead):
    """k-means weighted by the entropy."""

    strategy = pool.Clue

    def query_arguments(self) -> dict[str, Any]:
        """The head is fitted already."""
        return {"fit_estimator": False}


class Falcun(PeerWithHead):
    """Margin and diversity of the probabilities."""

    strategy = pool.Falcun


class Margin(PeerWithHead):
    """Smallest margin."""

    strategy = pool.UncertaintySampling
    arguments: ClassVar[dict[str, Any]] = {"method": "margin_sampling"}


class DropQuery(PeerWithHead):
    """Rows whose answer changes under dropout, then k-means."""

    strategy = pool.DropQuery

    def classifier(
        self, x: NDArray[np.float32], y: NDArray[np.float64], candidates: Candidates
    ) -> tuple[Any, ...]:
        """A logistic regression on the same rows."""
        classes = list(range(len(candidates.classes[finest(candidates)])))
        own = SklearnClassifier(LogisticRegression(C=10, max_iter=200), classes=classes)
        return (own.fit(x, y),)


class TypiClust(Peer):
    """Typical rows of clusters."""

    strategy = pool.TypiClust


class CoreSet(Peer):
    """k-center greedy."""

    strategy = pool.CoreSet


class MaxHerding(Peer):
    """Greedy coverage under a Gaussian kernel; N × N numbers."""

    strategy = pool.MaxHerding
    arguments: ClassVar[dict[str, Any]] = {"metric_dict": {"gamma": 1.0}}


class ProbCover(Peer):
    """Greedy coverage by balls; N × N numbers."""

    strategy = pool.ProbCover
    arguments: ClassVar[dict[str, Any]] = {"deltas": np.arange(0.1, 1.4, 0.1)}
