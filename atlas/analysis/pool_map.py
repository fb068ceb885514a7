"""A map of the pool: its bottlenecks in two dimensions, so that like images lie together.

Principal components of the L2-normalised bottlenecks, by a randomised range finder with power
iterations (Halko, Martinsson & Tropp 2011, 0909.4061, algorithm 4.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.analysis.stored import as_bytes, as_texts, read_arrays, root_of, write_arrays
from atlas.errors import ModelError
from atlas.project import Project
from atlas.types import Rows

MOST = 100_000  # points; of a larger pool a uniform sample is shown
BASIS_SAMPLE = 10_000  # rows that the directions are found from
SPARE = 8  # directions beside the wanted two, for the range finder
POWERS = 3
CHUNK = 8192


@dataclass(frozen=True)
class PoolMap:
    """Where the images lie.

    Attributes:
        ids: N image ids, sorted.
        places: (N, 2) float32.
        explained: share of the bottlenecks' variance that each axis shows, in [0, 1].
    """

    ids: tuple[str, ...]
    places: NDArray[np.float32]
    explained: tuple[float, float]


def sample(ids: Sequence[str]) -> list[str]:
    """At most `MOST` ids, in order. Ids are hashes of the content: the lowest are uniform."""
    return sorted(ids)[:MOST]


def save(project: Project, fingerprint: str, ids: Sequence[str], rows: Rows) -> None:
    """Work the map out and keep it, one a backbone; nothing to do where the images are the same.

    Args:
        project: where it is kept.
        fingerprint: of the backbone.
        ids: N image ids, sorted.
        rows: (N, D) their bottlenecks.
    """
    before = _read(_path(project, fingerprint))
    if before is not None and before.ids == tuple(ids):
        return
    axes, middle, explained = directions(rows)
    places: NDArray[np.float32] = np.zeros((len(ids), 2), dtype=np.float32)
    for start in range(0, len(ids), CHUNK):
        part = slice(start, start + CHUNK)
        places[part] = (_unit(rows[part]) - middle) @ axes
    arrays = {"ids": as_bytes(ids), "places": places, "explained": np.array(explained)}
    write_arrays(_path(project, fingerprint), arrays)


def load(project: Project, fingerprint: str) -> PoolMap:
    """The map of the bottlenecks of one backbone.

    Raises:
        ModelError: none was made yet.
    """
    found = _read(_path(project, fingerprint))
    if found is None:
        raise ModelError("the map is not drawn yet; a worker of `atlas up` draws it in seconds")
    return found


def directions(
    rows: Rows,
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[float, float]]:
    """(D, 2) axes of greatest variance, the (D,) mean, and the share of variance of each axis.

    Found from `BASIS_SAMPLE` evenly spaced rows; each axis has its largest entry positive, so that
    the map is not mirrored from one time to the next.

    Args:
        rows: (N, D), N of 1 or more; fewer than two directions give axes of zeros.
    """
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), BASIS_SAMPLE)).astype(np.intp))
    x = _unit(rows[chosen])
    middle = x.mean(axis=0)
    x -= middle
    size = min(2 + SPARE, *x.shape)
    start = np.random.default_rng(0).standard_normal((x.shape[1], size)).astype(np.float32)
    basis, _ = np.linalg.qr(x @ start)
    for _ in range(POWERS):
        basis, _ = np.linalg.qr(x.T @ basis)
        basis, _ = np.linalg.qr(x @ basis)
    _, lengths, across = np.linalg.svd(basis.T @ x, full_matrices=False)
    axes: NDArray[np.float32] = np.zeros((x.shape[1], 2), dtype=np.float32)
    axes[:, : min(2, size)] = across[:2].T
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    total = float((x**2).sum())
    shares = [float(one**2) / total if total else 0.0 for one in lengths[:2]]
    return axes, middle, (shares[0], shares[1] if len(shares) > 1 else 0.0)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    x = np.asarray(rows, dtype=np.float32)
    unit: NDArray[np.float32] = x / np.maximum(
        np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny
    )
    return unit


def _path(project: Project, fingerprint: str) -> Path:
    return root_of(project) / f"map-{fingerprint}.npz"


def _read(path: Path) -> PoolMap | None:
    arrays = read_arrays(path)
    if arrays is None:
        return None
    first, second = arrays["explained"].tolist()
    return PoolMap(as_texts(arrays["ids"]), arrays["places"], (first, second))
