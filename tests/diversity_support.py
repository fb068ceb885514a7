"""Rows to sample from, for the samplers that look at bottlenecks alone."""

import numpy as np

from atlas import plugins
from atlas.types import Batch, Candidates


def of_rows(rows: np.ndarray, labelled: np.ndarray | None = None) -> Candidates:
    labelled = rows[:0] if labelled is None else labelled
    return Candidates([f"img_{i}" for i in range(len(rows))], rows, labelled)


def select(name: str, given: Candidates, n: int, seed: int = 0, **arguments: object) -> Batch:
    rng = np.random.default_rng(seed)
    return plugins.build("atlas.samplers", name, arguments).select(given, n=n, rng=rng)


def numbers(batch: Batch) -> list[int]:
    return [int(one[4:]) for one in batch.ids]


def unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def on_circle(degrees: list[float]) -> np.ndarray:
    """At an angle of a from one another, two points are 2 sin(a / 2) apart."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def groups_of(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around the axes of a space, and the group of each."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(seed).normal(0, 0.03, (len(group), len(sizes)))
    return np.eye(len(sizes))[group] + noise, group
