"""Draws a water event as a picture: opening on the left, closing on the right.

Time runs to the right, frequency upwards in equal ratios from 1.5 to 95 Hz, brightness is loudness
in decibels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.demo.home import Home, Valve
from atlas.demo.water import RATE_HZ, SAMPLES, Signal, simulate

LEVELS: tuple[str, ...] = ("category", "fixture", "valve")
SIDE = 64
WINDOW = 128
HOP = 20
PADDED = 512

_HANN = np.hanning(WINDOW)
_STARTS = np.arange(0, SAMPLES - WINDOW + 1, HOP)
_ROW_HZ = np.geomspace(95, 1.5, SIDE)
_QUIET_DB, _LOUD_DB = 0.0, 52.0
# The colour map from quiet to loud: night blue, violet, rose, amber, pale yellow.
_STOPS = np.array([(8, 10, 40), (70, 25, 125), (190, 50, 110), (250, 150, 50), (255, 250, 190)])


def draw_event(home: Home, valve: Valve, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one use of a valve: (64, 64, 3) uint8."""
    opening, closing = simulate(home, valve, rng)
    return paint(np.concatenate([loudness_db(opening), loudness_db(closing)], axis=1))


def loudness_db(pressure: Signal) -> Signal:
    """Give the log-magnitude spectrogram of (SAMPLES,) kPa: (64, 32) dB, low frequencies last."""
    frames = pressure[_STARTS[:, None] + np.arange(WINDOW)] * _HANN
    magnitude = np.abs(np.fft.rfft(frames, n=PADDED, axis=1))
    bins_hz = np.arange(magnitude.shape[1]) * RATE_HZ / PADDED
    rows = [np.interp(_ROW_HZ, bins_hz, frame) for frame in magnitude]
    decibels: Signal = 20 * np.log10(np.stack(rows, axis=1) + 1e-3)
    return decibels


def paint(decibels: Signal) -> NDArray[np.uint8]:
    """Colour a (H, W) field of decibels: (H, W, 3) uint8."""
    share = ((decibels - _QUIET_DB) / (_LOUD_DB - _QUIET_DB)).clip(0, 1)
    at = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(share, at, _STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.uint8)
