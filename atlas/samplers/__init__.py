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


def top_n(
    scores: NDArray[np.floating], ids: Sequence[ImageId], *, n: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Positions of the `n` largest scores, largest first; ties fall by `rng`.

    Args:
        scores: (N,) finite.
        ids: N image ids, for the error.
        n: at most N.
        rng: shuffles before the sort, so equal scores come in random order.

    Raises:
        NonFiniteScores: a score is NaN or infinite.
    """
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise NonFiniteScores(
            f"{len(broken)} of {len(scores)} acquisition scores are not finite (the first is that "
            f"of {ids[int(broken[0])]}); what the model says is damaged, train it again"
        )
    order = rng.permutation(len(scores))
    ranked = order[np.argsort(-scores[order], kind="stable")]
    return ranked[:n]


def probs_at(candidates: Candidates, level: str) -> tuple[str, NDArray[np.floating]]:
    """The level's name and its (N, K) probabilities; "" means the finest level."""
    level = level or list(candidates.probs)[-1]
    if level not in candidates.probs:
        known = ", ".join(candidates.probs)
        raise SamplerError(f"no level {level!r} to sample by; known: {known}")
    return level, candidates.probs[level]


def by_score(
    candidates: Candidates,
    scores: NDArray[np.floating],
    reason: Callable[[int], str],
    *,
    n: int,
    rng: np.random.Generator,
) -> Batch:
    """The batch of the `n` highest scores; `reason` is asked for the chosen positions only."""
    chosen = top_n(scores, candidates.ids, n=n, rng=rng)
    return batch_of(candidates, chosen, scores[chosen], [reason(int(i)) for i in chosen])


def batch_of(
    candidates: Candidates,
    positions: NDArray[np.intp],
    scores: NDArray[np.floating],
    reasons: Sequence[str],
) -> Batch:
    """Positions become ids: nothing that leaves a sampler speaks of positions."""
    return Batch(
        ids=tuple(candidates.ids[int(i)] for i in positions),
        scores=tuple(float(score) for score in scores),
        reasons=tuple(reasons),
    )


def torn_between(candidates: Candidates, level: str, position: int) -> str:
    """ "between cat and dog 0.41/0.39": the two best classes of one candidate."""
    probs = candidates.probs[level][position]
    second, best = np.argsort(probs, kind="stable")[-2:]
    names = [candidates.classes[level][i].rpartition("/")[2] for i in (best, second)]
    return f"between {names[0]} and {names[1]} {probs[best]:.2f}/{probs[second]:.2f}"
