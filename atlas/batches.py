"""From candidates to a batch: which sampler chooses, and what no batch may hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.errors import PoolExhausted
from atlas.neighbors import unit_rows
from atlas.samplers import Sampler
from atlas.samplers._composition import build_sampler, takes_level
from atlas.samplers._reading import chunks, unit_chunks
from atlas.settings import RoundSettings
from atlas.types import Batch, Candidates, Rows


@dataclass(frozen=True)
class Ask:
    """What to choose: how many images, by which sampler, at which level; 0 and "" = settings."""

    n: int = 0
    sampler: str = ""
    level: str = ""


@dataclass(frozen=True)
class Choice:
    """A batch, the sampler that chose it, and what the round should record about that."""

    batch: Batch
    sampler: str
    note: str = ""


def choose_batch(
    candidates: Candidates,
    avoid: Sequence[Rows],
    settings: RoundSettings,
    ask: Ask,
    *,
    rng: np.random.Generator,
) -> Choice:
    """The batch of the sampler that is asked for, without near-duplicates.

    An image whose bottleneck has a cosine above `settings.near_duplicate` to one of `avoid`, or
    to a better image of the batch, is not asked about. Where such images leave too few, the batch
    is as large as it can be, unless `ask.n` demanded a size.

    Args:
        candidates: what may be asked.
        avoid: bottlenecks (A, D) of images that are labelled or queued, and of the audit set.
        settings: the sampler where `ask` names none, its arguments, the cold start.
        ask: what is wanted.
        rng: the only randomness.

    Raises:
        PoolExhausted: nothing is left, or less than `ask.n`.
        PluginError, SamplerError: no such sampler, argument or level.
    """
    sampler, name, note = _sampler(settings, ask, has_model=bool(candidates.probs))
    size = ask.n or min(settings.batch_size, len(candidates.ids))
    if not 1 <= size <= len(candidates.ids):
        raise PoolExhausted(asked=size or settings.batch_size, available=len(candidates.ids))
    batch = sampler.select(candidates, n=size, rng=rng)
    if settings.near_duplicate < 1:
        batch = _Distinct(candidates, avoid, settings.near_duplicate).fill(
            batch, sampler, n=size, rng=rng
        )
        if not batch.ids or (ask.n and len(batch.ids) < ask.n):
            raise PoolExhausted(asked=size, available=len(batch.ids))
    return Choice(batch, name, "; ".join(part for part in (note, batch.note) if part))


def _sampler(settings: RoundSettings, ask: Ask, *, has_model: bool) -> tuple[Sampler, str, str]:
    name = ask.sampler or settings.sampler
    arguments = dict(settings.sampler_args) if name == settings.sampler else {}
    if ask.level:
        arguments["level"] = ask.level
    elif takes_level(name):
        arguments.setdefault("level", settings.level)
    sampler = build_sampler(name, arguments)
    if sampler.needs_model and not has_model:
        cold = build_sampler(settings.cold_start)
        return cold, settings.cold_start, f"no model yet: {settings.cold_start} instead of {name}"
    return sampler, name, ""


class _Distinct:
    """Takes near-duplicates out of a batch and lets the sampler fill the gaps."""

    def __init__(self, candidates: Candidates, avoid: Sequence[Rows], limit: float) -> None:
        self.candidates = candidates
        self.avoid = avoid
        self.limit = limit

    def fill(self, batch: Batch, sampler: Sampler, *, n: int, rng: np.random.Generator) -> Batch:
        """`batch` without near-duplicates, filled up to `n` as far as the candidates reach."""
        chosen: list[tuple[str, float, str]] = []
        free: NDArray[np.intp] = np.arange(len(self.candidates.ids))
        near: Sequence[Rows] = self.avoid  # what the free candidates were not compared with yet
        while True:
            places = self.candidates.positions(batch.ids)
            rows = unit_rows(self.candidates.bottlenecks[places])
            kept = self._keep(rows, near)
            lines = list(zip(batch.ids, batch.scores, batch.reasons, strict=True))
            chosen += [lines[i] for i in kept]
            if len(chosen) == n:
                break
            # only now, and that is rare, is every free candidate compared
            free = self._without(np.setdiff1d(free, places), near, rows[kept])
            if not len(free):
                break
            near = ()
            more = min(n - len(chosen), len(free))
            batch = sampler.select(self.candidates.subset(free), n=more, rng=rng)
        ids, scores, reasons = zip(*chosen, strict=True) if chosen else ((), (), ())
        return Batch(ids, scores, reasons, batch.note)

    def _keep(self, rows: NDArray[np.float32], near: Sequence[Rows]) -> list[int]:
        """Which rows of a batch are no near-duplicate of `near` or of a row kept before."""
        alone = ~_close(rows, near, self.limit)
        among = rows @ rows.T > self.limit
        kept: list[int] = []
        for i in np.flatnonzero(alone):
            if not among[i, kept].any():
                kept.append(int(i))
        return kept

    def _without(
        self, free: NDArray[np.intp], near: Sequence[Rows], kept: NDArray[np.float32]
    ) -> NDArray[np.intp]:
        """The free candidates that are near nothing in the way."""
        far = np.empty(len(free), dtype=bool)
        for part in chunks(len(free)):
            rows = unit_rows(self.candidates.bottlenecks[free[part]])
            far[part] = ~_close(rows, (*near, kept), self.limit)
        result: NDArray[np.intp] = free[far]
        return result


def _close(rows: NDArray[np.float32], others: Sequence[Rows], limit: float) -> NDArray[np.bool_]:
    """(n,) whether a unit row has a cosine above `limit` to one of the others."""
    result = np.zeros(len(rows), dtype=bool)
    for other in others:
        for _, part in unit_chunks(other):
            result |= (rows @ part.T > limit).any(axis=1)
    return result
