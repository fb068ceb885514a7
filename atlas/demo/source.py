"""The pictures the small backbone is pretrained on: no clothes, and homes no demo pool uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.demo.doodles import doodle
from atlas.demo.home import Home, Valve, source_home
from atlas.demo.objects import OBJECTS
from atlas.demo.scene import draw_scene, dress
from atlas.demo.spectrogram import draw_event
from atlas.demo.surfaces import Colour, any_colour

DOODLES = 96
THINGS: tuple[str, ...] = (*OBJECTS, *(f"doodle {number:02d}" for number in range(DOODLES)))
VALVES: tuple[str, ...] = (
    "toilet",
    *(f"{kind} {tap}" for kind in ("faucet", "shower") for tap in ("cold", "hot", "mixed")),
    "washing machine cold",
    "washing machine hot",
    "dishwasher",
)
CLASSES: tuple[str, ...] = (*THINGS, *VALVES)
# What is measured of a picture beside its class: the thing's colour, the valve's physics.
FACTS: tuple[str, ...] = (
    "red",
    "green",
    "blue",
    "log ring hz",
    "log hiss hz",
    "flow",
    "log rise s",
)


@dataclass(frozen=True)
class SourceSet:
    """Pictures (N, 64, 64, 3) uint8, classes (N,) int64 into CLASSES, facts (N, 7) float32.

    A fact that a picture does not have is NaN. `outlines` (N, 64, 64) uint8 is 255 where a thing
    is; an event has none and is 0 throughout.
    """

    pictures: NDArray[np.uint8]
    outlines: NDArray[np.uint8]
    classes: NDArray[np.int64]
    facts: NDArray[np.float32]


def draw_source(
    *, things: int, homes: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> SourceSet:
    """Draw `things` pictures of objects and a third as many events spread over `homes` homes."""
    events = things // 3
    total = things + events
    drawn = SourceSet(
        pictures=np.empty((total, 64, 64, 3), dtype=np.uint8),
        outlines=np.zeros((total, 64, 64), dtype=np.uint8),
        classes=np.empty(total, dtype=np.int64),
        facts=np.full((total, len(FACTS)), np.nan, dtype=np.float32),
    )
    built = [source_home(number) for number in range(homes)]
    for index in range(total):
        rng = np.random.default_rng([seed, index])
        if index < things:
            drawn.classes[index] = index % len(THINGS)
            picture, outline, colour = draw_thing(index % len(THINGS), rng)
            drawn.pictures[index], drawn.outlines[index] = picture, outline
            drawn.facts[index, :3] = colour
        else:
            home = built[index % homes]
            valve = home.valves[rng.integers(len(home.valves))]
            drawn.classes[index] = CLASSES.index(valve_class(valve))
            drawn.pictures[index] = draw_event(home, valve, rng)
            drawn.facts[index, 3:] = valve_facts(home, valve)
        if progress is not None and (index + 1) % 100 == 0:
            progress(index + 1, total)
    return drawn


def draw_thing(
    number: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Colour]:
    """Draw one specimen of source class THINGS[number].

    Returns the picture, (64, 64, 3) uint8, where the thing is, (64, 64) uint8, and its main
    colour, (3,) in [0, 1].
    """
    main = any_colour(rng)
    named = list(OBJECTS.values())
    parts = named[number](rng) if number < len(named) else doodle(number - len(named), rng)
    hardness = float(rng.uniform(0, 0.85))  # the easy ones get the training started
    picture, outline = draw_scene(parts, dress(main, rng), hardness, rng)
    return picture, outline, main


def valve_class(valve: Valve) -> str:
    """Name the class of a valve, the same in every home: one of VALVES."""
    if valve.kind in ("toilet", "dishwasher"):
        return valve.kind
    tap = "mixed" if len(valve.branch_m) == 2 else next(iter(valve.branch_m))
    return f"{valve.kind} {tap}"


def valve_facts(home: Home, valve: Valve) -> tuple[float, float, float, float]:
    """Give what a plumber could measure: log ring Hz, log hiss Hz, flow, log rise seconds."""
    mean_m = home.main_m + float(np.mean(list(valve.branch_m.values())))
    ring_hz = home.wave_m_s / (4 * mean_m)
    return (
        float(np.log(ring_hz)),
        float(np.log(valve.hiss_hz)),
        valve.flow,
        float(np.log(valve.rise_s)),
    )
