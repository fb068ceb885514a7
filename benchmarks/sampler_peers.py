"""Other libraries' ways of choosing, and one numpy pass, on the same data.

Each peer is a function that gets its library's module and the problem, puts the data into the shape
the library wants, and gives back what is timed: a function that chooses. What Atlas is given
(probabilities) or would first compute (rows of length 1) the peer is given too, off the clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import unit_rows
from atlas.types import Candidates

Choose = Callable[[], Sequence[int]]


@dataclass(frozen=True)
class Problem:
    """What a peer is given.

    Attributes:
        rows: (N, D) float32 as Atlas gets them.
        labelled: (L, D) float32.
        classes: (L,) of the labelled.
        probs: (N, K).
        batch: how many to choose.
    """

    rows: NDArray[np.float32]
    labelled: NDArray[np.float32]
    classes: NDArray[np.int64]
    probs: NDArray[np.float32]
    batch: int

    def together(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """(N + L, D) unit rows, the labelled last, and their classes, NaN for the others."""
        x = np.concatenate([unit_rows(self.rows), unit_rows(self.labelled)])
        return x, np.concatenate([np.full(len(self.rows), np.nan), self.classes])

    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where in `together` the candidates are, and where the labelled."""
        return np.arange(len(self.rows)), len(self.rows) + np.arange(len(self.labelled))


def problem_of(candidates: Candidates, batch: int) -> Problem:
    """The same data as plain arrays."""
    (level,) = candidates.probs
    return Problem(
        rows=np.asarray(candidates.bottlenecks[:], dtype=np.float32),
        labelled=np.asarray(candidates.labelled[:], dtype=np.float32),
        classes=candidates.labelled_classes[level],
        probs=np.asarray(candidates.probs[level][:]),
        batch=batch,
    )


def skactiveml_plain(kind: str) -> Callable[[Any, Problem], Choose]:
    """A strategy of scikit-activeml that looks at rows and labels alone."""

    def prepare(pool: Any, problem: Problem) -> Choose:
        x, y = problem.together()
        sampler = getattr(pool, kind)(random_state=0)
        return lambda: sampler.query(x, y, batch_size=problem.batch)

    return prepare


def skactiveml_max_herding(pool: Any, problem: Problem) -> Choose:
    """The kernel as in the paper and in Atlas."""
    x, y = problem.together()
    sampler = pool.MaxHerding(metric_dict={"gamma": 1.0}, random_state=0)
    return lambda: sampler.query(x, y, batch_size=problem.batch)


def skactiveml_prob_cover(pool: Any, problem: Problem) -> Choose:
    """Radii below √2, which is a right angle between unit rows."""
    x, y = problem.together()
    sampler = pool.ProbCover(
        n_classes=problem.probs.shape[1], deltas=np.arange(0.1, 1.4, 0.1), random_state=0
    )
    return lambda: sampler.query(x, y, batch_size=problem.batch)


def known_head(probs: NDArray[np.floating]) -> Any:
    """A classifier of scikit-activeml that says what the head said, (N, K)."""
    base = import_module("skactiveml.base").SkactivemlClassifier
    says = {"fit": lambda self, x, y: self, "predict_proba": lambda self, x: probs}
    return type("Known", (base,), says)(classes=list(range(probs.shape[1])))


def skactiveml_badge(pool: Any, problem: Problem) -> Choose:
    """Bottlenecks as they are: a gradient is not scaled."""
    x, y = np.concatenate([problem.rows, problem.labelled]), problem.together()[1]
    sampler, head = pool.Badge(random_state=0), known_head(problem.probs)
    return lambda: sampler.query(x, y, head, fit_clf=False, batch_size=problem.batch)


def skactiveml_clue(pool: Any, problem: Problem) -> Choose:
    """k-means weighted by the entropy."""
    x, y = problem.together()
    sampler, head = pool.Clue(random_state=0), known_head(problem.probs)
    return lambda: sampler.query(x, y, head, fit_estimator=False, batch_size=problem.batch)


def alipy_core_set(library: Any, problem: Problem) -> Choose:
    """k-center greedy."""
    x, y = problem.together()
    free, taken = problem.places()
    sampler = library.QueryInstanceCoresetGreedy(x, y, np.arange(len(x)))
    return lambda: sampler.select(taken, free, batch_size=problem.batch)


def small_text_core_set(library: Any, problem: Problem) -> Choose:
    """k-center greedy; every pick measures all distances to all centres again."""
    x, _ = problem.together()
    free, taken = problem.places()
    return lambda: library.greedy_coreset(
        x, free, taken, problem.batch, distance_metric="euclidean", normalized=True
    )


def small_text_kmeans(library: Any, problem: Problem) -> Choose:
    """k-means of scikit-learn, then the row nearest to each centre."""
    rows, (free, _) = unit_rows(problem.rows), problem.places()
    sampler, nothing = library.EmbeddingKMeans(normalize=False), np.arange(0)
    return lambda: sampler.sample(None, None, free, nothing, nothing, problem.batch, rows)


def distil_core_set(library: Any, problem: Problem) -> Choose:
    """k-center greedy."""
    rows, labelled = unit_rows(problem.rows), unit_rows(problem.labelled)
    return lambda: library.CoreSet.furthest_first(None, rows, labelled, problem.batch)


def distil_kmeans(library: Any, problem: Problem) -> Choose:
    """k-means of scikit-learn, then the row nearest to each centre."""
    embed = import_module("torch").from_numpy
    given = SimpleNamespace(unlabeled_x=unit_rows(problem.rows), get_embedding=embed)
    return lambda: library.KMeansSampling.select(given, problem.batch)


def distil_badge(library: Any, problem: Problem) -> Choose:
    """Gradients (N, K·D) written out, as the library does from its network."""

    def choose() -> Sequence[int]:
        residual = problem.probs.copy()
        residual[np.arange(len(residual)), residual.argmax(axis=1)] -= 1
        gradients = residual[:, :, np.newaxis] * problem.rows[:, np.newaxis]
        flat = gradients.reshape(len(residual), -1)
        picks: list[int] = library.init_centers(flat, problem.batch, "cpu")
        return picks

    return choose


def apricot_facility_location(library: Any, problem: Problem) -> Choose:
    """Greedy on a Gaussian kernel, which is what MaxHerding maximises."""
    rows = unit_rows(problem.rows)
    kernel = import_module("sklearn.metrics.pairwise").rbf_kernel
    chooser = library.FacilityLocationSelection(
        problem.batch, metric="precomputed", optimizer="lazy"
    )
    return lambda: chooser.fit(kernel(rows, gamma=1.0)).ranking


@dataclass(frozen=True)
class Peer:
    """One library's way.

    Attributes:
        name: the library and what it calls it.
        sampler: the Atlas sampler that does the same.
        module: of the library.
        prepare: see this file's beginning.
        relative: not the same method but the nearest there is.
        square: holds N × N numbers, so it is measured on fewer rows.
    """

    name: str
    sampler: str
    module: str
    prepare: Callable[[Any, Problem], Choose]
    relative: bool = False
    square: bool = False


SK, DISTIL = "skactiveml.pool", "distil.active_learning_strategies"
PEERS = (
    Peer("scikit-activeml CoreSet", "k_center", SK, skactiveml_plain("CoreSet")),
    Peer("ALiPy CoresetGreedy", "k_center", "alipy.query_strategy", alipy_core_set),
    Peer("DISTIL CoreSet", "k_center", f"{DISTIL}.core_set", distil_core_set),
    Peer(
        "small-text greedy_coreset",
        "k_center",
        "small_text.query_strategies.coresets",
        small_text_core_set,
    ),
    Peer("scikit-activeml Badge", "badge", SK, skactiveml_badge),
    Peer("DISTIL BADGE", "badge", f"{DISTIL}.badge", distil_badge),
    Peer("scikit-activeml TypiClust", "typiclust", SK, skactiveml_plain("TypiClust")),
    Peer("small-text EmbeddingKMeans", "kmeans", "small_text.query_strategies", small_text_kmeans),
    Peer("DISTIL KMeansSampling", "kmeans", f"{DISTIL}.kmeans_sampling", distil_kmeans),
    Peer("scikit-activeml Clue", "cluster_margin", SK, skactiveml_clue, relative=True),
    Peer(
        "scikit-activeml MaxHerding",
        "max_herding",
        SK,
        skactiveml_max_herding,
        square=True,
    ),
    Peer(
        "apricot FacilityLocation",
        "max_herding",
        "apricot",
        apricot_facility_location,
        square=True,
    ),
    Peer(
        "scikit-activeml ProbCover",
        "max_herding",
        SK,
        skactiveml_prob_cover,
        relative=True,
        square=True,
    ),
)

LEFT_OUT = {
    "modAL": "uncertainty and ranked batches; its cluster module holds no method",
    "baal": "uncertainty of dropout samples (BALD, entropy, margin)",
    "lightly": "the package trains networks; what chooses is a closed service",
    "submodlib": "facility location as apricot's, on the same N × N matrix",
    "cluster-margin": "in no library found; the nearest is CLUE, k-means weighted by entropy",
    "atlas, atl_uncertainty, atl_representative, representative, model_outlier, class_balanced": (
        "in no library found; the scripts of PyTorch Active Learning are tied to their own data"
    ),
}
"""What there is no peer of, or which library is none: why."""


def _two_best(p: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    ordered = np.partition(p, -2, axis=1)
    return ordered[:, -1], ordered[:, -2]


NUMPY_PASS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]] = {
    "least_confidence": lambda p: 1 - p.max(axis=1),
    "most_certain": lambda p: p.max(axis=1),
    "margin": lambda p: 1 - np.subtract(*_two_best(p)),
    "ratio": lambda p: 1 / np.divide(*_two_best(p)),
    "entropy": lambda p: -(p * np.log(p)).sum(axis=1),
    "bald": lambda p: (
        (p * np.log(p)).sum(axis=2).mean(axis=0)
        - (p.mean(axis=0) * np.log(p.mean(axis=0))).sum(axis=1)
    ),
}
"""Sampler → its score in plain numpy, (N, K) → (N,); of BALD (M, N, K) → (N,).

Nothing is checked, ranked or explained.
"""


def numpy_pass(name: str, candidates: Candidates) -> Callable[[], NDArray[np.floating]]:
    """The pass that a score-only sampler is compared with."""
    (level,) = candidates.probs
    read = candidates.member_probs if name == "bald" else candidates.probs
    probs = np.array(read[level])
    return lambda: NUMPY_PASS[name](probs)
