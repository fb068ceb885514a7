"""A made-up home: its pipes, its water fixtures and the valves they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["toilet", "faucet", "shower", "washing machine", "dishwasher"]
Line = Literal["cold", "hot"]
Tree = dict[str, dict[str, list[str]]]

# First entry of every seed, so that no demo home can be a home of the pretraining.
_DEMO_STREAM, _SOURCE_STREAM = 1, 2


@dataclass(frozen=True)
class Valve:
    """One valve: what it is, where it sits and how it is worked.

    `path` is its place in the taxonomy, `branch_m` the pipe from the main to it by line,
    `rise_s` how long it typically takes to open, `flow` its share of full flow in (0, 1],
    `hiss_hz` where its flow sounds loudest, `uses` how often it is used relative to the others.
    """

    path: str
    kind: Kind
    branch_m: dict[Line, float]
    rise_s: float
    flow: float
    hiss_hz: float
    uses: float


@dataclass(frozen=True)
class Home:
    """One home as its pressure sensor hears it.

    Lengths in metres, `wave_m_s` the speed of pressure waves in its pipes, `ring_s` how long
    they ring, `pressure_kpa` at rest, `noise_kpa` of the sensor, `hiss` the loudness of flowing
    water, `echoes` pairs of (delay in s, share that comes back).
    """

    wave_m_s: float
    main_m: float
    heater_m: float
    ring_s: float
    pressure_kpa: float
    noise_kpa: float
    hiss: float
    echoes: tuple[tuple[float, float], ...]
    valves: tuple[Valve, ...]

    @property
    def tree(self) -> Tree:
        """Category → fixture → valves; a fixture with one valve only has an empty list."""
        tree: Tree = {}
        for valve in self.valves:
            category, fixture, *last = valve.path.split("/")
            tree.setdefault(category, {}).setdefault(fixture, []).extend(last)
        return tree


def demo_home(seed: int) -> Home:
    """Make the home that a demo pool of this seed is drawn in."""
    return _build(np.random.default_rng([_DEMO_STREAM, seed]))


def source_home(number: int) -> Home:
    """Make one of the homes that only the pretraining sees."""
    return _build(np.random.default_rng([_SOURCE_STREAM, number]))


def _build(rng: np.random.Generator) -> Home:
    echoes = tuple(
        (float(rng.uniform(0.02, 0.35)), float(rng.uniform(-0.45, 0.45))) for _ in range(3)
    )
    return Home(
        wave_m_s=float(rng.uniform(380, 1300)),
        main_m=float(rng.uniform(6, 22)),
        heater_m=float(rng.uniform(2, 9)),
        ring_s=float(rng.uniform(0.2, 0.8)),
        pressure_kpa=float(rng.uniform(280, 550)),
        noise_kpa=float(np.exp(rng.uniform(np.log(0.1), np.log(0.5)))),
        hiss=float(rng.uniform(0.5, 1.5)),
        echoes=echoes,
        valves=tuple(_furnish(rng)),
    )


def _furnish(rng: np.random.Generator) -> list[Valve]:
    """Equip two or three bathrooms, a kitchen and a laundry: 13 to 20 valves."""
    baths = int(rng.integers(2, 4))
    rooms = ["kitchen", *(f"bath {number + 1}" for number in range(baths))]
    room_m = {room: float(rng.uniform(2, 16)) for room in [*rooms, "laundry"]}
    valves = [_valve(f"toilet/{room} toilet", "toilet", room_m[room], rng) for room in rooms[1:]]
    for room in rooms:
        taps = (
            ["hot", "cold", "mixed"] if room == "kitchen" or rng.random() < 0.3 else ["hot", "cold"]
        )
        at = room_m[room] + float(rng.uniform(0.3, 3))
        valves += [_valve(f"faucet/{room} sink/{tap}", "faucet", at, rng) for tap in taps]
    for room in rooms[1:3]:
        at = room_m[room] + float(rng.uniform(0.3, 3))
        ends = (
            ["/hot", "/cold", "/mixed"]
            if room == "bath 1" and baths == 2 and rng.random() < 0.5
            else [""]
        )
        valves += [_valve(f"shower/{room} shower{end}", "shower", at, rng) for end in ends]
    for tap in ("hot", "cold"):
        path = f"appliance/washing machine/{tap}"
        valves.append(_valve(path, "washing machine", room_m["laundry"], rng))
    valves.append(_valve("appliance/dishwasher", "dishwasher", room_m["kitchen"] + 1.5, rng))
    return valves


_RISE_S = {
    "toilet": (0.1, 0.25),
    "faucet": (0.12, 0.4),
    "shower": (0.2, 0.6),
    "washing machine": (0.01, 0.03),
    "dishwasher": (0.01, 0.03),
}
_FLOW = {
    "toilet": (0.35, 0.6),
    "faucet": (0.45, 0.75),
    "shower": (0.6, 0.95),
    "washing machine": (0.5, 0.8),
    "dishwasher": (0.2, 0.4),
}
_USES = {"toilet": 4.0, "faucet": 3.0, "shower": 1.5, "washing machine": 1.5, "dishwasher": 2.0}


def _valve(path: str, kind: Kind, branch_m: float, rng: np.random.Generator) -> Valve:
    last = path.split("/")[-1]
    lines: tuple[Line, ...] = ("cold", "hot")
    if last == "hot" or kind == "dishwasher":
        lines = ("hot",)
    elif last == "cold" or kind == "toilet":
        lines = ("cold",)
    return Valve(
        path=path,
        kind=kind,
        branch_m={line: branch_m + float(rng.uniform(0, 3)) for line in lines},
        rise_s=float(rng.uniform(*_RISE_S[kind])),
        flow=float(rng.uniform(*_FLOW[kind])),
        hiss_hz=float(rng.uniform(12, 80)),
        uses=_USES[kind] * float(rng.uniform(0.6, 1.4)),
    )
