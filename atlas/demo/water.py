"""Pressure transients of water valves, simulated from a home's pipes.

Opening a valve drops the pressure and sends a wave through the pipes, which rings at odd
multiples of wave speed / (4 × length), comes back from junctions and dies away; flowing water
hisses; closing is the same upside down and harder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.demo.home import Home, Line, Valve

RATE_HZ = 200
SAMPLES = 748

Signal = NDArray[np.float64]
# When a valve moved, in seconds, and whether it opened.
Moves = Sequence[tuple[float, bool]]

_TIME_S = np.arange(SAMPLES) / RATE_HZ
_STEADY_DROP_KPA = 26.0
_HAMMER_KPA = 22.0
_CLOSING_GAIN = 1.35


def simulate(home: Home, valve: Valve, rng: np.random.Generator) -> tuple[Signal, Signal]:
    """Give the pressure while `valve` opens and while it closes, each (SAMPLES,) in kPa from rest.

    A hand opens a tap by a different amount each time; the solenoids of an appliance click several
    times; a toilet closes slowly as its cistern fills.
    """
    flow = valve.flow * _share_opened(valve, rng)
    rise_s = valve.rise_s * float(np.exp(rng.normal(0, 0.25)))
    start_s = float(rng.uniform(0.4, 0.9))
    clicks = _clicks(valve, start_s, rng)
    opening = _pressure(home, valve, flow, rise_s, [(start_s, True), *clicks])
    close_s = float(rng.uniform(0.8, 1.6)) if valve.kind == "toilet" else rise_s * 0.7
    closing_moves = [*((at, not opened) for at, opened in clicks), (start_s, False)]
    resting = _STEADY_DROP_KPA * flow
    closing = _pressure(home, valve, flow, close_s, closing_moves) - resting
    while_open = _flowing([(start_s, True), *clicks], rise_s)
    while_closing = 1 + _flowing(closing_moves, close_s)
    heard = []
    for pressure, flowing in ((opening, while_open), (closing, while_closing)):
        loud = home.hiss * flow * flowing.clip(0, 1)
        heard.append(pressure + _hiss(valve, loud, rng) + _elsewhere(home, rng))
    return heard[0], heard[1]


def _share_opened(valve: Valve, rng: np.random.Generator) -> float:
    if valve.kind in ("faucet", "shower"):
        return float(rng.uniform(0.45, 1.3))
    return float(rng.uniform(0.92, 1.08))


def _clicks(valve: Valve, start_s: float, rng: np.random.Generator) -> list[tuple[float, bool]]:
    """Give the further moves after the first: solenoids close and open again, in pairs."""
    period_s = {"washing machine": 0.75, "dishwasher": 1.15}.get(valve.kind)
    if period_s is None:
        return []
    times = start_s + period_s * np.arange(1, 5) + rng.normal(0, 0.04, 4)
    pairs = int(rng.integers(1, 3)) * 2
    return [(float(at), bool(i % 2)) for i, at in enumerate(times[:pairs])]


def _flowing(moves: Moves, rise_s: float) -> Signal:
    """Sum ramps of length `rise_s`, +1 for each opening and -1 for each closing: (SAMPLES,)."""
    state = np.zeros(SAMPLES)
    for at_s, opened in moves:
        state += (1.0 if opened else -1.0) * ((_TIME_S - at_s) / rise_s).clip(0, 1)
    return state


def _pressure(home: Home, valve: Valve, flow: float, rise_s: float, moves: Moves) -> Signal:
    """Sum the pressure's answers to all moves, from 0 kPa: (SAMPLES,)."""
    ring = _ring(home, valve, rise_s) * (_HAMMER_KPA * flow * home.pressure_kpa / 400)
    pressure = -_STEADY_DROP_KPA * flow * _flowing(moves, rise_s)
    for at_s, opened in moves:
        gain = -1.0 if opened else _CLOSING_GAIN
        pressure += gain * _later(ring, at_s)
    return pressure


def _ring(home: Home, valve: Valve, rise_s: float) -> Signal:
    """Give the damped oscillation after a move at time 0, about 1 high: (SAMPLES,)."""
    ring = np.zeros(SAMPLES)
    for line, branch_m in valve.branch_m.items():
        for length_m, loud in ((_length_m(home, line, branch_m), 1.0), (branch_m, 0.5)):
            ring += loud * _modes(home, line, length_m, rise_s) / len(valve.branch_m)
    return ring + sum(share * _later(ring, delay_s) for delay_s, share in home.echoes)


def _length_m(home: Home, line: Line, branch_m: float) -> float:
    return home.main_m + branch_m + (home.heater_m if line == "hot" else 0.0)


def _modes(home: Home, line: Line, length_m: float, rise_s: float) -> Signal:
    """Sum the odd harmonics of a pipe closed at one end; slow moves and heaters dull high ones."""
    base_hz = home.wave_m_s / (4 * length_m)
    harmonic = np.arange(1, max(2, int(0.45 * RATE_HZ / base_hz) + 1), 2)
    hz = base_hz * harmonic
    loud = harmonic**-0.6 / np.sqrt(1 + (3 * hz * rise_s) ** 2)
    if line == "hot":
        loud = 0.7 * loud / (1 + (hz / 30) ** 2)
    fade_s = home.ring_s / np.sqrt(harmonic)
    waves = np.sin(2 * np.pi * hz * _TIME_S[:, None]) * np.exp(-_TIME_S[:, None] / fade_s)
    summed: Signal = waves @ loud
    return summed


def _later(signal: Signal, delay_s: float) -> Signal:
    shift = min(round(delay_s * RATE_HZ), SAMPLES)
    return np.concatenate([np.zeros(shift), signal[: SAMPLES - shift]])


def _hiss(valve: Valve, loud: Signal, rng: np.random.Generator) -> Signal:
    """Give turbulence around the valve's own pitch, as loud as `loud` (kPa) says: (SAMPLES,)."""
    slow = np.convolve(rng.normal(0, 1, SAMPLES + 15), np.hanning(16) / 3, mode="valid")
    hz = valve.hiss_hz * rng.normal(1, 0.06)
    band = slow * np.cos(2 * np.pi * hz * _TIME_S + rng.uniform(0, 6))
    noise: Signal = loud * (1.6 * band + 0.4 * rng.normal(0, 1, SAMPLES))
    if valve.kind == "toilet":  # a float valve whistles
        noise += 1.5 * loud * np.sin(2 * np.pi * hz * (1 + 0.04 * _TIME_S) * _TIME_S)
    return noise


def _elsewhere(home: Home, rng: np.random.Generator) -> Signal:
    """Give what the sensor hears besides: its noise, a drifting main, now and then a neighbour."""
    heard: Signal = home.noise_kpa * rng.normal(0, 1, SAMPLES)
    drift_hz, phase = rng.uniform(0.05, 0.6), rng.uniform(0, 6)
    heard += rng.uniform(0, 2) * np.sin(2 * np.pi * drift_hz * _TIME_S + phase)
    if rng.random() < 0.3:
        at_s, hz = rng.uniform(0, 3.5), rng.uniform(3, 70)
        ping = np.sin(2 * np.pi * hz * _TIME_S) * np.exp(-_TIME_S / rng.uniform(0.1, 0.4))
        heard += rng.uniform(1, 5) * _later(ping, at_s)
    return heard
