"""The four-week protocol: its homes, what other homes teach, four weeks and the tables."""

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pytest
import torch

import atlas.demo
from atlas.demo.home import demo_home, source_home
from atlas.demo.protocol import FIRST_DAYS, WEEK_DAYS, Arm, _Resident, run_home, schedule
from atlas.demo.protocol_homes import (
    DAYS,
    HELD_OUT,
    Events,
    Hardness,
    Role,
    draw_use,
    held_out_uses,
    home_of,
    listen,
    uses_of_days,
)
from atlas.demo.protocol_model import Informed, Lessons, fisher_directions, kinds_of, learn_lessons
from atlas.demo.protocol_run import Library, arms, run_protocol
from atlas.demo.protocol_table import REFERENCE, differences, rows, short_rows, summary
from atlas.demo.source import VALVES
from atlas.demo.spectrogram import LEVELS, draw_event
from atlas.errors import PoolError, SettingsError
from atlas.heads.tree import Tree
from atlas.settings import RoundSettings, ShowingSettings
from atlas.taxonomy import Taxonomy
from services.commands import four_weeks

FEATURES = 24
HOME = home_of("development", 0)


def blobs(role: Role = "development", number: int = 0) -> Events:
    """A home whose valves are blobs: those of a kind near each other in every home."""
    home = home_of(role, number)
    kinds = np.random.default_rng(5).normal(0, 3, (len(VALVES), FEATURES))
    rng = np.random.default_rng([number, len(role)])
    centres = kinds[kinds_of(home)] + rng.normal(0, 1, (len(home.valves), FEATURES))
    uses = held_out_uses(home, 60, rng) + uses_of_days(home, DAYS, rng)
    days, valves = np.array(uses).T
    rows = centres[valves] + rng.normal(0, 0.3, (len(valves), FEATURES))
    return Events(home, rows.astype(np.float16), valves, days)


def test_no_two_roles_share_a_home_nor_has_the_backbone_seen_one() -> None:
    facts = json.loads((Path(atlas.demo.__file__).parent / "backbone.json").read_text())
    seen = {source_home(number).wave_m_s for number in range(facts["settings"]["homes"])}
    pools = {demo_home(seed).wave_m_s for seed in range(100)}
    every: tuple[Role, ...] = ("others", "development", "evaluation")
    roles = [{home_of(role, number).wave_m_s for number in range(100)} for role in every]
    everything = [seen, pools, *roles]
    assert len(set.union(*everything)) == sum(len(one) for one in everything)


def test_homes_have_as_many_valves_as_a_home_has() -> None:
    assert all(10 <= len(home_of("evaluation", number).valves) <= 20 for number in range(30))


def test_the_easiest_homes_are_those_of_the_drawn_pool() -> None:
    valve = HOME.valves[0]
    ours = draw_use(HOME, valve, Hardness(0), np.random.default_rng(3))
    theirs = draw_event(HOME, valve, np.random.default_rng(3))
    assert np.array_equal(ours, theirs)


def test_a_step_doubles_the_noise_and_adds_a_tenth_of_overlaps() -> None:
    assert Hardness(3).noise == 8.0
    assert Hardness(3).overlap == pytest.approx(0.3)
    assert Hardness(12).overlap == 1.0
    always, never = Hardness(10), Hardness(0)
    valve = HOME.valves[0]
    assert not np.array_equal(
        draw_use(HOME, valve, always, np.random.default_rng(3)),
        draw_use(HOME, valve, never, np.random.default_rng(3)),
    )


def test_valves_are_used_as_often_as_they_say() -> None:
    """Poisson counts over 400 days: four deviations of the mean are 4 · √(uses / 400)."""
    uses = np.array(uses_of_days(HOME, 400, np.random.default_rng(0)))
    assert np.all(np.diff(uses[:, 0]) >= 0)
    assert (uses[0, 0], uses[-1, 0]) == (1, 400)
    counts = np.bincount(uses[:, 1], minlength=len(HOME.valves)) / 400
    wanted = np.array([valve.uses for valve in HOME.valves])
    assert np.all(np.abs(counts - wanted) < 4 * np.sqrt(wanted / 400))


def test_a_picture_does_not_depend_on_what_was_heard_before() -> None:
    def means(pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
        result: NDArray[np.float16] = pictures.mean(axis=(1, 2)).astype(np.float16)
        return result

    uses = [(1, 0), (1, 3), (2, 5)]
    found = listen(HOME, uses, Hardness(1), [7], means)
    assert found.valves.tolist() == [0, 3, 5]
    assert found.days.tolist() == [1, 1, 2]
    again = listen(HOME, [(9, 2), *uses[1:]], Hardness(1), [7], means)
    assert np.array_equal(found.rows[1:], again.rows[1:])
    assert not np.array_equal(found.rows[0], again.rows[0])


@pytest.mark.parametrize(("valves", "first"), [(5, 8), (13, 13), (16, 16), (25, 20)])
def test_the_schedule_is_the_reference_s(valves: int, first: int) -> None:
    """8 to 20 labels in week 1; sessions of 2 to 4 every other day, 9 to 12 labels in week 2."""
    plan = schedule(valves)
    days = list(plan)
    assert days[3:] == list(range(8, 29, 2))
    weekly = [sum(n for day, n in plan.items() if end - 7 < day <= end) for end in WEEK_DAYS]
    assert weekly == [first, 12, 9, 12]
    assert all(2 <= n <= 4 for day, n in plan.items() if day > 7)


def test_fisher_directions_by_hand() -> None:
    """Along x valves differ by ±1 and spread by 1; along y by ±2 and spread by 0.5: y comes first.

    Each valve has four uses at its mean ± spread; variance within is 1 and 0.25, between 1 and 4.
    Scaled to variance 1 within: x as it is, y times 2. (SHRINK moves both by about 2%.)
    """
    corners = np.array([[1, 0.5], [1, -0.5], [-1, 0.5], [-1, -0.5]])
    home = np.concatenate([corners + [1, 2], corners - [1, 2]]).astype(np.float32)
    valves = np.repeat([0, 1], 4)
    # the second home's valves differ by the other diagonal, so that x and y are uncorrelated
    mirrored = home * np.array([1, -1], dtype=np.float32)
    found = fisher_directions([home, mirrored], [valves, valves], 2)
    assert np.abs(found) == pytest.approx(np.array([[0, 1], [2, 0]]), abs=0.05)


def test_without_labels_a_leaf_is_as_likely_as_its_kind() -> None:
    """Kinds at x = 0: toilet e⁰ = 1, cold tap e^ln 4 = 4, shared by two leaves: 1/5, 2/5, 2/5."""
    kinds = np.array([VALVES.index(one) for one in ("toilet", "faucet cold", "faucet cold")])
    bias = np.zeros(len(VALVES), dtype=np.float32)
    bias[VALVES.index("faucet cold")] = np.log(4)
    weight = np.zeros((2, len(VALVES)), dtype=np.float32)
    weight[0, VALVES.index("toilet")] = 1.0
    lessons = Lessons(np.eye(2, dtype=np.float32), weight, bias)
    home = Taxonomy(("fixture", "valve"), ("toilet", "sink/cold", "sink/cold too"), {})
    head = Informed(2, home, lessons, kinds)
    found = head(torch.tensor([[0.0, 0.0], [float(np.log(4)), 7.0]]))["valve"].exp()
    assert found[0].tolist() == pytest.approx([0.2, 0.4, 0.4])
    assert found[1].tolist() == pytest.approx([0.5, 0.25, 0.25])  # 4 against 4
    none = Informed(2, home, lessons, kinds, trust=0.0)
    assert none(torch.ones(1, 2))["valve"].exp()[0].tolist() == pytest.approx([1 / 3] * 3)


def test_nothing_trusted_is_the_tree_head() -> None:
    data = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    kinds = np.array([0, 1, 1])
    home = Taxonomy(("fixture", "valve"), ("toilet", "sink/cold", "sink/hot"), {})
    empty = Lessons(np.eye(4, dtype=np.float32), *(np.zeros(n, np.float32) for n in ((4, 10), 10)))
    plain, informed = Tree(4, home), Informed(4, home, empty, kinds, trust=0.0)
    informed.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(plain.leaf_scores(data), informed.leaf_scores(data))


def test_other_homes_teach_kinds_to_a_home_without_labels() -> None:
    lessons = learn_lessons([blobs("others", number) for number in range(6)], dimensions=8)
    new = blobs("development", 3)
    rows = lessons.project(new.rows, new.rows)
    assert rows.mean(axis=0) == pytest.approx(np.zeros(8), abs=0.01)
    scores = rows @ lessons.weight + lessons.bias
    assert (scores.argmax(axis=1) == kinds_of(new.home)[new.valves]).mean() > 0.8


def test_four_weeks_in_a_home_that_is_easy() -> None:
    events = blobs()
    weeks = run_home(events, Arm("default", RoundSettings()), seed=0)
    first = len(events.home.valves)
    assert [one["week"] for one in weeks] == [1, 2, 3, 4]
    assert [one["labels"] for one in weeks] == [first, first + 12, first + 21, first + 33]
    last = weeks[-1]
    assert last["accuracy"]["category"] > 0.95
    assert last["shown"] == list(LEVELS[: len(last["shown"])])
    assert "category" in last["shown"]
    assert last["backoff"]["accuracy"] > 0.85
    assert 0 < sum(last["backoff"]["coverage"].values()) <= 1 + 1e-9


def test_only_what_was_heard_is_asked_about_and_by_lot_of_the_seed_alone() -> None:
    """Nothing of a later day, nothing twice, and no held-out event."""
    events = blobs()
    arm = Arm("random", RoundSettings(sampler="random"))
    resident, twin, other = (_Resident(events, arm, seed) for seed in (1, 1, 2))
    before: set[int] = set()
    for day, labels in list(schedule(len(events.home.valves)).items())[:3]:
        resident.label(day, labels)
        after = set(resident.labelled.tolist())
        assert before < after
        assert len(after - before) == labels
        assert all(HELD_OUT < events.days[index] <= day for index in after - before)
        before = after
        if day == FIRST_DAYS[0]:
            for one in (twin, other):
                one.label(day, labels)
            assert after == set(twin.labelled.tolist()) != set(other.labelled.tolist())


def test_the_protocol_is_of_homes() -> None:
    with pytest.raises(PoolError, match="add --pool water"):
        four_weeks("garments", 1, json=False)


def week(number: int, valve: float, shown: tuple[str, ...]) -> dict[str, object]:
    return {
        "week": number,
        "labels": 10 * number,
        "accuracy": {"category": 0.9, "fixture": 0.8, "valve": valve},
        "shown": list(shown),
        "backoff": {
            "coverage": {"category": 0.5, "fixture": 0.25, "valve": 0.0},
            "accuracy": 0.9 if shown else None,
        },
    }


def test_the_tables_by_hand() -> None:
    """Valves right .5 and .7: mean .6, t(1 df) · s/√2 = 12.706 · .1414/1.414 = 1.2706."""
    content = {
        "floor": 0.6,
        "arms": {
            "one": [
                {"weeks": [week(1, 0.5, ("category", "fixture", "valve"))]},
                {"weeks": [week(1, 0.7, ())]},
            ],
            "other": [{"weeks": [week(1, 0.4, ())]}, {"weeks": [week(1, 0.5, ())]}],
        },
    }
    (found,) = summary(content)["arms"]["one"]
    assert found["labels"] == [10, 10.0, 10]
    assert found["accuracy"]["valve"] == pytest.approx([0.6, 1.2706], abs=1e-4)
    assert found["shown"] == {"category": 0.5, "fixture": 0.5, "valve": 0.5}
    assert found["kept"] == [2, 3]  # the valve level was shown at 50%, under the floor
    assert found["backoff_accuracy"] == pytest.approx(0.9)
    short = short_rows(content)
    assert list(short) == ["one", "other", "reference"]
    assert short["one"] == [["1", "10", "90.0% ± 0.0", "80.0% ± 0.0", "60.0% ± 127.1", "50/50/50%"]]
    assert short["reference"][0] == ["2", "–", "87%", "82%", "–", "–"]
    body = rows(content)
    assert [line[0] for line in body] == ["one", *["reference"] * len(REFERENCE), "other"]
    # gaps of .1 and .2: mean .15, 12.706 · .0707/1.414 = .635; t = .15/.05 = 3, 1 df: p = .205
    (gap,) = differences(content, "one", "other")
    assert gap[:2] == ["one − other", "1"]
    assert gap[-1] == "+15.0 ± 63.5, p = 0.205"
    assert gap[-2] == "+0.0 ± 0.0, p = nan"


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    calls = 0

    def shrunk(pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
        nonlocal calls
        calls += 1
        return pictures[:, ::16, ::16, 0].reshape(len(pictures), -1).astype(np.float16)

    library = Library(shrunk, Hardness(0), tmp_path)
    first = library.events("others", 0)
    drawn = calls
    again = library.events("others", 0)
    assert calls == drawn
    assert np.array_equal(first.rows, again.rows)
    assert np.array_equal(first.valves, again.valves)
    (tmp_path / "runs").mkdir()
    way = arms({64: learn_lessons([first], dimensions=4)}, ShowingSettings())[0]
    kept = {"home": 0, "valves": 13, "weeks": []}
    name = "development-000-0-default--other-homes.json"
    (tmp_path / "runs" / name).write_text(json.dumps(kept), encoding="utf-8")
    content = run_protocol(library, [way], role="development", homes=1)
    assert content["arms"] == {"default, other homes": [kept]}
    assert calls == drawn
    other = replace(way, showing=ShowingSettings(floor=0.3))
    with pytest.raises(SettingsError, match="another recipe"):
        run_protocol(library, [other], role="development", homes=1)
