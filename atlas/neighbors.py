"""The only door to faiss: cluster centres and nearest neighbours."""

import faiss
import numpy as np
from numpy.typing import NDArray

POINTS_PER_CENTRE = 256
ITERATIONS = 20


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """(N, D) rows scaled to length 1, as float32; a zero row stays zero."""
    rows = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(lengths, 1e-12))


def kmeans(
    rows: NDArray[np.float32], *, clusters: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(clusters, D) centres of (N, D) rows, from at most 256 rows a centre drawn by `rng`.

    faiss would draw that sample silently and by its own seed; here it is drawn in the open.
    """
    limit = clusters * POINTS_PER_CENTRE
    if len(rows) > limit:
        rows = rows[np.sort(rng.choice(len(rows), limit, replace=False))]
    model = faiss.Kmeans(
        rows.shape[1],
        clusters,
        niter=ITERATIONS,
        seed=int(rng.integers(2**31)),
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_CENTRE,
    )
    model.train(np.ascontiguousarray(rows), init_centroids=_spread(rows, clusters, rng))
    return np.asarray(model.centroids, dtype=np.float32)


def _spread(
    rows: NDArray[np.float32], clusters: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """k-means++ (Arthur & Vassilvitskii 2007): first centres drawn far from one another.

    From centres that are drawn uniformly, as faiss does, k-means often leaves two well separated
    groups with one centre.
    """
    squares = np.square(rows).sum(axis=1, dtype=np.float64)
    distance = np.ones(len(rows))
    chosen: list[int] = []
    while len(chosen) < clusters:
        total = distance.sum()
        weights = distance / total if total > 0 else None  # only copies are left: any will do
        pick = int(rng.choice(len(rows), p=weights))
        to_pick = np.maximum(squares + squares[pick] - 2 * (rows @ rows[pick]), 0)
        distance = np.minimum(distance, to_pick) if chosen else to_pick
        chosen.append(pick)
    return rows[chosen]


def nearest(
    rows: NDArray[np.float32], queries: NDArray[np.float32], *, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Squared distances and row numbers (Q, k) of the k rows nearest to each query."""
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(rows))
    distances, numbers = index.search(np.ascontiguousarray(queries), k)
    return distances, numbers
