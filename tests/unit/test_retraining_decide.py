"""Decisions by hand: the clock, labels, accuracy, and each of what holds a training back."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atlas.analysis.drift import Drift
from atlas.errors import SettingsError
from services.retraining.decide import Decision, Facts, decide, next_runs
from services.retraining.schedule import Schedule, parse

MINUTE = timedelta(minutes=1)
NIGHTLY: Mapping[str, Any] = {"cron": "0 3 * * *", "zone": "Europe/Berlin"}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def facts(since: str = "2026-06-01 00:00", **more: Any) -> Facts:
    return Facts(since=utc(since), **{"labels": 1, **more})


def walk(
    schedule: Schedule, known: Facts, start: str, end: str, step: timedelta = MINUTE
) -> list[datetime]:
    """Decide at every step and train at once: when it trained."""
    at, runs = utc(start), []
    while at < utc(end):
        if decide(schedule, known, at).run:
            runs.append(at)
            known = replace(known, last_run=at, runs=(*known.runs, at))
        at += step
    return runs


def test_too_few_labels() -> None:
    schedule = parse({"after_labels": 50})
    known = facts(labels=112, labels_before=100)
    assert decide(schedule, known, utc("2026-06-02 00:00")) == Decision(
        False, "not retrained: 12 of 50 labels"
    )
    enough = replace(known, labels=150)
    assert decide(schedule, enough, utc("2026-06-02 00:00")) == Decision(True, "50 of 50 labels")
    fewer = replace(known, labels=90)  # some were taken back
    assert decide(schedule, fewer, utc("2026-06-02 00:00")).reason.endswith("0 of 50 labels")


def test_by_the_clock() -> None:
    schedule, known = parse(NIGHTLY), facts("2026-06-01 12:00")
    before = decide(schedule, known, utc("2026-06-02 00:59"))
    assert before == Decision(
        False, "not retrained: next at 2026-06-02 03:00 Europe/Berlin", utc("2026-06-02 01:00")
    )
    on_time = decide(schedule, known, utc("2026-06-02 01:00"))
    assert on_time == Decision(True, "due at 2026-06-02 03:00 Europe/Berlin")
    done = replace(known, last_run=utc("2026-06-02 01:00"))
    assert not decide(schedule, done, utc("2026-06-02 01:00")).run


def test_any_is_enough_and_all_are_said() -> None:
    schedule = parse({**NIGHTLY, "after_labels": 5})
    known = facts("2026-06-01 12:00", labels=4)
    assert decide(schedule, known, utc("2026-06-01 13:00")).reason == (
        "not retrained: next at 2026-06-02 03:00 Europe/Berlin; 4 of 5 labels"
    )
    by_labels = decide(schedule, replace(known, labels=5), utc("2026-06-01 13:00"))
    assert by_labels == Decision(True, "5 of 5 labels")
    both = decide(schedule, replace(known, labels=5), utc("2026-06-02 01:00"))
    assert both == Decision(True, "due at 2026-06-02 03:00 Europe/Berlin; 5 of 5 labels")


def test_a_machine_that_slept_for_days_trains_once() -> None:
    known = facts(last_run=utc("2026-06-01 01:00"))
    runs = walk(parse(NIGHTLY), known, "2026-06-05 09:30", "2026-06-07 00:00")
    assert runs == [utc("2026-06-05 09:30"), utc("2026-06-06 01:00")]


def test_what_lay_before_the_schedule_is_not_caught_up_with() -> None:
    runs = walk(parse(NIGHTLY), facts("2026-06-05 09:30"), "2026-06-05 09:30", "2026-06-06 12:00")
    assert runs == [utc("2026-06-06 01:00")]


def test_the_night_without_its_hour() -> None:
    """29 March: 02:30 is left out; once, right after the gap."""
    schedule = parse({**NIGHTLY, "cron": "30 2 * * *"})
    runs = walk(schedule, facts("2026-03-28 12:00"), "2026-03-28 12:00", "2026-03-30 12:00")
    assert runs == [utc("2026-03-29 01:00"), utc("2026-03-30 00:30")]


def test_the_night_with_its_hour_twice() -> None:
    """25 October: 02:30 comes at 00:30 and 01:30 UTC; the first time alone."""
    schedule = parse({**NIGHTLY, "cron": "30 2 * * *"})
    runs = walk(schedule, facts("2026-10-24 12:00"), "2026-10-24 12:00", "2026-10-26 12:00")
    assert runs == [utc("2026-10-25 00:30"), utc("2026-10-26 01:30")]


def test_quiet_hours_over_midnight() -> None:
    """22:00 to 06:00 in Berlin is 20:00 to 04:00 UTC in summer."""
    schedule = parse({"after_labels": 5, "zone": "Europe/Berlin", "quiet": "22:00-06:00"})
    known = facts(labels=5)
    assert decide(schedule, known, utc("2026-06-01 19:59")).run
    until = "2026-06-02 06:00 Europe/Berlin"
    for inside in ("2026-06-01 20:00", "2026-06-01 22:30", "2026-06-02 03:59"):
        assert decide(schedule, known, utc(inside)) == Decision(
            False,
            f"not retrained: quiet hours until {until}, though 5 of 5 labels",
            utc("2026-06-02 04:00"),
        )
    assert decide(schedule, known, utc("2026-06-02 04:00")).run


def test_a_time_in_quiet_hours_is_made_up_for_after_them() -> None:
    schedule = parse({**NIGHTLY, "quiet": "23:30-06:00"})
    runs = walk(schedule, facts("2026-06-01 12:00"), "2026-06-01 12:00", "2026-06-03 00:00")
    assert runs == [utc("2026-06-02 04:00")]


def test_quiet_hours_that_end_in_the_gap() -> None:
    schedule = parse({"after_labels": 1, "zone": "Europe/Berlin", "quiet": "22:00-02:30"})
    assert not decide(schedule, facts(), utc("2026-03-29 00:59")).run
    assert decide(schedule, facts(), utc("2026-03-29 01:00")).run


def test_the_pause_is_since_the_last_of_all() -> None:
    schedule = parse({"cron": "0 * * * *", "pause_s": 6 * 3600})
    known = facts("2026-06-01 00:30", last_run=utc("2026-06-01 02:20"))  # by hand
    assert decide(schedule, known, utc("2026-06-01 08:19")) == Decision(
        False,
        "not retrained: pause until 2026-06-01 08:20 UTC, though due at 2026-06-01 03:00 UTC",
        utc("2026-06-01 08:20"),
    )
    runs = walk(schedule, known, "2026-06-01 02:20", "2026-06-01 22:00")
    assert runs == [utc("2026-06-01 08:20"), utc("2026-06-01 14:20"), utc("2026-06-01 20:20")]


def test_the_day_is_the_zones() -> None:
    """In Auckland (UTC+12 in June) a day ends at noon UTC."""
    schedule = parse({"after_labels": 1, "zone": "Pacific/Auckland", "per_day": 1})
    known = facts(last_run=utc("2026-06-01 11:00"), runs=(utc("2026-06-01 11:00"),))
    assert decide(schedule, known, utc("2026-06-01 11:59")) == Decision(
        False, "not retrained: at most 1 a day, though 1 of 1 labels", utc("2026-06-01 12:00")
    )
    assert decide(schedule, known, utc("2026-06-01 12:00")).run


def test_the_day_of_25_hours_has_one_maximum() -> None:
    schedule = parse({"after_labels": 1, "zone": "Europe/Berlin", "per_day": 2, "pause_s": 3600})
    runs = walk(schedule, facts(), "2026-10-24 22:00", "2026-10-26 00:00")
    assert runs == [
        utc("2026-10-24 22:00"),
        utc("2026-10-24 23:00"),
        utc("2026-10-25 23:00"),  # midnight, 25 hours later
    ]


def test_a_time_beyond_the_maximum_is_dropped() -> None:
    """Trained at 01:00 for its labels: 03:00 is dropped, and not made up for at midnight."""
    schedule = parse({**NIGHTLY, "per_day": 1})
    early = utc("2026-06-01 23:00")
    known = facts(last_run=early, runs=(early,))
    runs = walk(schedule, known, "2026-06-01 23:01", "2026-06-03 12:00")
    assert runs == [utc("2026-06-03 01:00")]


def test_accuracy_below_its_bound() -> None:
    schedule = parse({"below": {"leaf": 0.8}, "pause_s": 60})
    now, known = utc("2026-06-02 00:00"), facts(labels=10)
    assert decide(schedule, known, now).reason == (
        "not retrained: accuracy of leaf is not known yet"
    )
    good = replace(known, accuracy={"leaf": 0.8})
    assert decide(schedule, good, now).reason == (
        "not retrained: accuracy of leaf 80.0% is not below 80.0%"
    )
    bad = replace(known, accuracy={"leaf": 0.79, "top": 0.1})
    assert decide(schedule, bad, now) == Decision(True, "accuracy of leaf 79.0% is below 80.0%")
    same = replace(bad, labels_before=10)
    assert decide(schedule, same, now).reason.endswith("is below 80.0%, no new labels")


def test_drift_reaches_its_bound() -> None:
    schedule = parse({"drift": {"leaf": 0.1}})
    now, known = utc("2026-06-02 00:00"), facts(drift=Drift(12))
    assert decide(schedule, known, now).reason == (
        "not retrained: drift of leaf is not known: 12 of 50 new images"
    )
    little = replace(known, drift=Drift(60, {"leaf": 0.034, "top": 0.3}))
    assert decide(schedule, little, now).reason == ("not retrained: drift of leaf 3.4 of 10 points")
    surer = replace(known, drift=Drift(60, {"leaf": -0.2}))
    assert decide(schedule, surer, now).reason.endswith("drift of leaf -20.0 of 10 points")
    much = replace(known, drift=Drift(60, {"leaf": 0.1}))
    assert decide(schedule, much, now) == Decision(True, "drift of leaf 10.0 of 10 points")
    assert next_runs(schedule, much, now, count=5) == []


def test_one_at_a_time_and_none_without_labels() -> None:
    schedule, now = parse({**NIGHTLY, "after_labels": 1}), utc("2026-06-02 01:00")
    active = decide(schedule, facts(active=True), now)
    assert active == Decision(False, "not retrained: one is queued or running")
    empty = decide(schedule, facts(labels=0), now)
    assert empty == Decision(False, "not retrained: there are no labels yet")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"cron": "*/30 2 * * *"},
        {"cron": "20 */5 * * *", "quiet": "23:00-07:10"},
        {"cron": "0 * * * *", "pause_s": 6.5 * 3600},
        {"cron": "*/10 * * * *", "per_day": 2, "pause_s": 3 * 3600},
        {"cron": "0 4,12 * * *", "per_day": 1, "quiet": "01:00-05:00"},
    ],
)
@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_the_next_times_are_those_of_the_walk(more: dict[str, Any], day: str) -> None:
    """What is foretold is what happens, over both odd nights; labels do not count."""
    schedule = parse({**NIGHTLY, "after_labels": 1, **more})
    clock = schedule.model_copy(update={"after_labels": None})
    known = facts(f"{day} 12:00", active=True, labels=0)
    foretold = next_runs(schedule, known, utc(f"{day} 12:00"), count=5)
    end = f"{utc(day) + timedelta(days=2):%Y-%m-%d} 12:00"
    seen = walk(clock, replace(known, active=False, labels=1), f"{day} 12:00", end, 10 * MINUTE)
    assert len(foretold) == 5
    assert seen[:5] == [one for one in foretold if one < utc(end)]


def test_the_words_stay_while_nothing_changes() -> None:
    """Each minute is due; the pause, then the day's maximum, are said once each."""
    schedule = parse({"cron": "* * * * *", "pause_s": 3600, "per_day": 2})
    known = facts(last_run=utc("2026-06-01 12:00"), runs=(utc("2026-06-01 12:00"),))
    minutes = [utc("2026-06-01 12:01") + number * MINUTE for number in range(59)]
    assert len({decide(schedule, known, at).reason for at in minutes}) == 1
    full = replace(known, runs=(*known.runs, utc("2026-06-01 12:00")))
    later = [utc("2026-06-01 13:00") + number * MINUTE for number in range(600)]
    assert {decide(schedule, full, at).reason for at in later} == {
        "not retrained: next at 2026-06-02 00:00 UTC"
    }


def test_the_next_time_may_be_now() -> None:
    known = facts(last_run=utc("2026-06-01 01:00"))
    found = next_runs(parse(NIGHTLY), known, utc("2026-06-05 09:30"), count=2)
    assert found == [utc("2026-06-05 09:30"), utc("2026-06-06 01:00")]


def test_no_clock_no_times() -> None:
    assert next_runs(parse({"after_labels": 1}), facts(), utc("2026-06-01 00:00"), count=5) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "nothing starts it: give cron, after_labels, below or drift"),
        ({"cron": "0 3 * *"}, "4 fields"),
        ({"cron": "0 3 * * *", "zone": "Mars"}, "no time zone 'Mars'"),
        ({"after_labels": 0}, "after_labels: .*greater than or equal to 1"),
        ({"after_labels": 1, "quiet": "8-18"}, "'8-18': expected such as 08:00-18:00"),
        ({"after_labels": 1, "quiet": "24:00-06:00"}, "expected such as"),
        ({"after_labels": 1, "quiet": "08:00-08:00"}, "begin when they end"),
        ({"after_labels": 1, "pause_s": float("nan")}, "pause_s"),
        ({"below": {"leaf": 0.8}}, "give a pause or a maximum per day too"),
        ({"below": {"leaf": 80}, "per_day": 1}, "between 0 and 1"),
        ({"drift": {"leaf": 10}}, "drift .*between 0 and 1, such as 0.1"),
        ({"after": 5}, "after: Extra inputs"),
    ],
)
def test_no_schedule(content: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=f"not a schedule: .*{said}"):
        parse(content)
