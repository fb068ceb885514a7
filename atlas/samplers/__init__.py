"""Samplers: each chooses a batch of images to ask about. One file each; its name is its name.

A sampler sees arrays and ids (`Candidates`), never a model, a database or a path. A new one is one
new file that ends with `SAMPLER = ItsClass`; the contract tests find it by being there.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.errors import NonFiniteScores, PoolExhausted, SamplerError
from atlas.types import Batch, Candidates, ImageId


class Sampler(Protocol):
    """What a sampler file registers.

    Attributes:
        needs_model: whether `Candidates.probs` must be there; if so, and there is no model yet,
            the round's cold start chooses instead.
    """

    needs_model: bool

    def select(self, candidates: Candidates, *, n: int, rng: np.random.Generator) -> Batch:
        """Exactly `n` distinct candidates, best first; the same `rng` state gives the same.

        Raises:
            PoolExhausted: fewer than `n` candidates.
            NonFiniteScores: a score is NaN or infinite.
        """


def check_size(candidates: Candidates, n: int) -> None:
    """Raise unless `n` images can be chosen from the candidates."""
    if n < 1:
        raise SamplerError(f"asked for a batch of {n} images; ask for 1 or more")
    if n > len(candidates.ids):
        raise PoolExhausted(asked=n, available=len(candidates.ids))


def check_finite(scores: NDArray[np.floating], ids: Sequence[ImageId]) -> None:
    """Raise `NonFiniteScores` if one of the (N,) scores is NaN or infinite."""
    if not np.isfinite(scores).all():
        broken = np.flatnonzero(~np.isfinite(scores))
        raise NonFiniteScores(
            f"{len(broken)} of {len(scores)} acquisition scores are not finite (the first is that "
            f"of {ids[int(broken[0])]}); what the model says is damaged, train it again"
        )


def top_n(
    scores: NDArray[np.floating], ids: Sequence[ImageId], *, n: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Positions of the `n` largest scores, largest first; ties fall by `rng`. O(N + n log n).

    Args:
        scores: (N,) finite.
        ids: N image ids, for the error.
        n: at most N.
        rng: draws which of the ties at the border come in, and the order of equals.

    Raises:
        NonFiniteScores: a score is NaN or infinite.
    """
    check_finite(scores, ids)
    if 0 < n < len(scores):
        border = np.partition(scores, len(scores) - n)[len(scores) - n]
        above, tied = np.flatnonzero(scores > border), np.flatnonzero(scores == border)
        chosen = np.concatenate([above, rng.choice(tied, n - len(above), replace=False)])
    else:
        chosen = np.arange(len(scores))
    chosen = rng.permutation(chosen)
    return chosen[np.argsort(-scores[chosen], kind="stable")][:n]


def by_score(
    candidates: Candidates,
    scores: NDArray[np.floating],
    reasons: Callable[[NDArray[np.intp]], Sequence[str]],
    *,
    n: int,
    rng: np.random.Generator,
) -> Batch:
    """The batch of the `n` highest scores; `reasons` is asked for the chosen positions only."""
    chosen = top_n(scores, candidates.ids, n=n, rng=rng)
    return batch_of(candidates, chosen, scores[chosen], reasons(chosen))


def batch_of(
    candidates: Candidates,
    positions: NDArray[np.intp],
    scores: NDArray[np.floating],
    reasons: Sequence[str],
) -> Batch:
    """Positions become ids: nothing that leaves a sampler speaks of positions."""
    return Batch(
        ids=tuple(candidates.ids[i] for i in positions.tolist()),
        scores=tuple(scores.astype(float).tolist()),
        reasons=tuple(reasons),
    )


def torn_between(candidates: Candidates, level: str, positions: NDArray[np.intp]) -> list[str]:
    """ "between cat and dog 0.41/0.39": the two best classes of each candidate at `positions`."""
    probs = candidates.probs[level][positions]
    names = [path.rpartition("/")[2] for path in candidates.classes[level]]
    if len(names) == 1:
        return [f"{names[0]} is the only class"] * len(positions)
    ranked = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    best, second = np.take_along_axis(probs, ranked, axis=1).T.tolist()
    return [
        f"between {names[i]} and {names[j]} {p:.2f}/{q:.2f}"
        for (i, j), p, q in zip(ranked.tolist(), best, second, strict=True)
    ]
