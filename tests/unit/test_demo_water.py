"""Homes and the pressure their valves make, checked against the physics they are built on."""

from dataclasses import replace

import numpy as np
import pytest

from atlas.demo.home import Home, Valve, demo_home, source_home
from atlas.demo.spectrogram import draw_event, loudness_db, paint
from atlas.demo.water import RATE_HZ, SAMPLES, simulate
from atlas.taxonomy import Taxonomy


def quiet(home: Home) -> Home:
    return replace(home, noise_kpa=0.0, hiss=0.0, echoes=())


def valve_of(home: Home, kind: str) -> Valve:
    return next(valve for valve in home.valves if valve.kind == kind)


@pytest.mark.parametrize("seed", range(30))
def test_homes_have_ten_to_twenty_valves_and_a_taxonomy(seed: int) -> None:
    home = demo_home(seed)
    assert 10 <= len(home.valves) <= 20
    paths = tuple(valve.path for valve in home.valves)
    taxonomy = Taxonomy(("category", "fixture", "valve"), paths, {})  # refuses single children
    assert taxonomy.classes["category"] == ("toilet", "faucet", "shower", "appliance")
    assert home.tree["toilet"]["bath 1 toilet"] == []
    assert home.tree["faucet"]["kitchen sink"] == ["hot", "cold", "mixed"]


def test_the_same_seed_is_the_same_home_and_homes_differ() -> None:
    assert demo_home(3) == demo_home(3)
    assert len({demo_home(seed).wave_m_s for seed in range(20)}) == 20


def test_pretraining_homes_are_never_demo_homes() -> None:
    demo = {demo_home(seed).wave_m_s for seed in range(300)}
    source = {source_home(number).wave_m_s for number in range(300)}
    assert not demo & source


def test_opening_drops_the_pressure_and_closing_brings_it_back() -> None:
    home = demo_home(0)
    opening, closing = simulate(home, valve_of(home, "faucet"), np.random.default_rng(1))
    second = RATE_HZ
    assert opening[:40].mean() == pytest.approx(0, abs=3)
    assert opening[-second:].mean() < -5
    assert closing[:40].mean() < -5
    assert closing[-second:].mean() == pytest.approx(0, abs=3)


def test_pipes_ring_at_wave_speed_over_four_lengths() -> None:
    # 800 m/s in 5 + 15 m of pipe: 800 / (4 × 20) = 10 Hz. The branch, 800 / (4 × 15) = 13.3 Hz,
    # sounds at half its loudness.
    home = quiet(replace(demo_home(0), wave_m_s=800.0, main_m=5.0, ring_s=2.0))
    valve = replace(valve_of(home, "dishwasher"), branch_m={"cold": 15.0}, kind="toilet")
    opening, _ = simulate(home, replace(valve, rise_s=0.02), np.random.default_rng(0))
    after = opening[200:] - opening[200:].mean()
    spectrum = np.abs(np.fft.rfft(after * np.hanning(len(after)), n=4096))
    hz = np.fft.rfftfreq(4096, 1 / RATE_HZ)
    audible = (hz > 5) & (hz < 20)
    assert hz[audible][spectrum[audible].argmax()] == pytest.approx(10, abs=0.4)


def test_a_washing_machine_clicks_more_often_than_a_tap() -> None:
    def jumps(kind: str) -> int:
        home = quiet(demo_home(0))
        opening, _ = simulate(home, valve_of(home, kind), np.random.default_rng(2))
        level = np.convolve(opening, np.ones(40) / 40, mode="valid")
        low = level < level.min() / 2
        return int(np.abs(np.diff(low.astype(int))).sum())

    assert jumps("faucet") == 1
    assert jumps("washing machine") >= 3


def test_a_pure_tone_is_brightest_in_its_own_row() -> None:
    # Rows run in equal ratios from 95 Hz (row 0) to 1.5 Hz (row 63), so 20 Hz lies at
    # 63 × ln(95 / 20) / ln(95 / 1.5) = 23.7.
    tone = np.sin(2 * np.pi * 20 * np.arange(SAMPLES) / RATE_HZ)
    decibels = loudness_db(tone)
    assert decibels.shape == (64, 32)
    assert set(decibels.argmax(axis=0)) <= {23, 24}
    # A Hann window of 128 samples sums to 63.5, half per sign: 20 log10 31.75 = 30.0.
    # Row 24 lies at 19.6 Hz, a quarter of a bin of 1.56 Hz off the tone: at most 0.5 dB less.
    assert 29.5 < decibels.max() < 30.05


def test_louder_is_brighter() -> None:
    greys = paint(np.linspace(-10, 60, 50)[None, :])[0].astype(int).sum(axis=1)
    assert (np.diff(greys) >= 0).all()
    assert greys[-1] > 3 * greys[0]


def test_one_stream_gives_one_picture() -> None:
    home = demo_home(1)
    valve = home.valves[0]
    first, again, other = (
        draw_event(home, valve, np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
