"""Homes of the four-week protocol, how hard they are, and what is used in them day by day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.demo.home import Home, Valve, demo_home, source_home
from atlas.demo.spectrogram import loudness_db, paint
from atlas.demo.water import SAMPLES, Signal, simulate

Role = Literal["others", "development", "evaluation"]
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float16]]

DAYS = 28
HELD_OUT = 0
"""The day of events that only measure."""
HELD_OUT_EVENTS = 400
OTHERS_EVENTS = 150
EMBEDDED_AT_ONCE = 256

# The backbone was pretrained on source homes from 0 on, far fewer than these; demo pools are drawn
# in demo homes of small seeds. No two roles share a home with each other or with either of those.
_FIRST: dict[Role, int] = {"others": 1_000, "development": 20_000, "evaluation": 10_000}


@dataclass(frozen=True)
class Hardness:
    """How hard the homes are, as one number.

    Attributes:
        step: 0 is the homes of the drawn water pool. A step doubles the sensor's noise and makes
            another valve move during one event in ten more.
    """

    step: int = 0

    @property
    def noise(self) -> float:
        """Times the noise of the home's sensor."""
        return 2.0**self.step

    @property
    def overlap(self) -> float:
        """Share of events during which another valve moves, in [0, 1]."""
        return min(1.0, 0.1 * self.step)


@dataclass(frozen=True)
class Events:
    """What was heard in one home, in order of time.

    Attributes:
        home: whose valves they are.
        rows: (N, D) float16 bottlenecks.
        valves: (N,) int64, which of `home.valves` it was.
        days: (N,) int64 from 1 on, `HELD_OUT` for those that only measure.
    """

    home: Home
    rows: NDArray[np.float16]
    valves: NDArray[np.int64]
    days: NDArray[np.int64]


def home_of(role: Role, number: int) -> Home:
    """The home of that number among those that play a role."""
    make = source_home if role == "others" else demo_home
    return make(_FIRST[role] + number)


def uses_of_days(home: Home, days: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(day, valve) of every use: each valve as often a day as Poisson says of its `uses`.

    With `uses` as they are a home of three bathrooms has about 45 a day, two in three at a tap.
    """
    found = []
    for day in range(1, days + 1):
        counts = rng.poisson([valve.uses for valve in home.valves])
        today = np.repeat(np.arange(len(counts)), counts)
        found += [(day, int(valve)) for valve in rng.permutation(today)]
    return found


def held_out_uses(home: Home, events: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(HELD_OUT, valve) of so many uses, as often as valves are used."""
    uses = np.array([valve.uses for valve in home.valves])
    picks = rng.choice(len(uses), size=events, p=uses / uses.sum())
    return [(HELD_OUT, int(valve)) for valve in picks]


def live_in(role: Role, number: int, hardness: Hardness, embed: Embed) -> Events:
    """What was heard in a home, drawn and embedded.

    Of a home that others learn from a sample of its uses, all "held out"; else four weeks and the
    events held out to measure on.
    """
    seed = [_FIRST[role] + number, hardness.step]
    home = home_of(role, number)
    rng = np.random.default_rng([*seed, 0])
    if role == "others":
        return listen(home, held_out_uses(home, OTHERS_EVENTS, rng), hardness, seed, embed)
    uses = held_out_uses(home, HELD_OUT_EVENTS, rng) + uses_of_days(home, DAYS, rng)
    return listen(home, uses, hardness, seed, embed)


def listen(
    home: Home,
    uses: list[tuple[int, int]],
    hardness: Hardness,
    seed: list[int],
    embed: Embed,
) -> Events:
    """Draw and embed uses, each (day, valve), every picture from a stream of its own."""
    parts = []
    for start in range(0, len(uses), EMBEDDED_AT_ONCE):
        pictures = [
            draw_use(home, home.valves[valve], hardness, np.random.default_rng([*seed, 1, index]))
            for index, (_, valve) in enumerate(uses[start : start + EMBEDDED_AT_ONCE], start=start)
        ]
        parts.append(embed(np.stack(pictures)))
    days, valves = np.array(uses, dtype=np.int64).T
    return Events(home, np.concatenate(parts), valves, days)


def draw_use(
    home: Home, valve: Valve, hardness: Hardness, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw one use of a valve as hard as `hardness` says: (64, 64, 3) uint8."""
    louder = replace(home, noise_kpa=home.noise_kpa * hardness.noise)
    heard = list(simulate(louder, valve, rng))
    if rng.random() < hardness.overlap:
        side = int(rng.integers(2))
        heard[side] = heard[side] + _another(home, rng)
    return paint(np.concatenate([loudness_db(one) for one in heard], axis=1))


def _another(home: Home, rng: np.random.Generator) -> Signal:
    """What another valve of the home adds, opening or closing at any moment: (SAMPLES,) kPa."""
    uses = np.array([valve.uses for valve in home.valves])
    valve = home.valves[int(rng.choice(len(uses), p=uses / uses.sum()))]
    # the sensor's own noise is already in what is being heard
    pressure = simulate(replace(home, noise_kpa=0.0), valve, rng)[int(rng.integers(2))]
    late = int(rng.integers(SAMPLES))
    return np.concatenate([np.full(late, pressure[0]), pressure[: SAMPLES - late]])
