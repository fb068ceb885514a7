"""Small pools of one level, and what a sampler makes of them."""

import numpy as np

from atlas import plugins
from atlas.types import Batch, Candidates


def pool(
    probs: list[list[float]] | np.ndarray,
    rows: list[list[float]] | np.ndarray | None = None,
    labelled: list[list[float]] | None = None,
    *,
    truth: list[int] | None = None,
    seen: list[list[float]] | None = None,
) -> Candidates:
    """One level; `truth` and `seen` are the classes and probabilities of the labelled."""
    probs = np.array(probs)
    bottlenecks = np.zeros((len(probs), 2)) if rows is None else np.array(rows)
    return Candidates(
        [f"img_{i}" for i in range(len(probs))],
        bottlenecks,
        bottlenecks[:0] if labelled is None else np.array(labelled),
        {"level": probs},
        {"level": tuple(f"top/{name}" for name in "abcdefgh"[: probs.shape[1]])},
        {} if truth is None else {"level": np.array(truth, dtype=np.int64)},
        {} if seen is None else {"level": np.array(seen)},
    )


def select(name: str, candidates: Candidates, n: int, seed: int = 0, **arguments: object) -> Batch:
    rng = np.random.default_rng(seed)
    built = plugins.build("atlas.samplers", name, arguments)
    batch: Batch = built.select(candidates, n=n, rng=rng)
    return batch


def in_order(batch: Batch) -> np.ndarray:
    """The scores of all candidates, in the pool's order."""
    by_number = sorted(zip(map(number, batch.ids), batch.scores, strict=True))
    return np.array([score for _, score in by_number])


def number(image_id: str) -> int:
    return int(image_id[4:])
