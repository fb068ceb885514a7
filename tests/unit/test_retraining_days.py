"""The maximum a day, over days on which the machine sleeps and over days on which it does not.

A training that makes up for a time of an earlier day counts on that day. Were it counted on the day
on which it begins, it would take the place of that day's own time, and a machine that is off at
night would train every other day.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.retraining.clock import day_of, zone_of
from services.retraining.decide import Decision, Facts, decide, next_runs
from services.retraining.schedule import Schedule, parse

BERLIN = zone_of("Europe/Berlin")  # UTC+2 in June
LATE = {"cron": "0 23 * * *", "zone": "Europe/Berlin", "per_day": 1}
Awake = Callable[[datetime], bool]  # by the clock on the wall


def by_day(wall: datetime) -> bool:
    return 8 <= wall.hour < 18


def always(wall: datetime) -> bool:
    return True


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def looks(start: str, end: str, awake: Awake) -> Iterator[datetime]:
    """Every ten minutes that the machine is on."""
    at = berlin(start).astimezone(UTC)
    while at < berlin(end):
        if awake(at.astimezone(BERLIN)):
            yield at
        at += timedelta(minutes=10)


def trainings(
    schedule: Schedule, known: Facts, times: Iterator[datetime]
) -> list[tuple[datetime, datetime]]:
    """When it trains, and the moment at which each counts."""
    found = []
    for at in times:
        decision = decide(schedule, known, at)
        if decision.run:
            found.append((at, decision.makes_up or at))
            known = replace(known, last_run=at, runs=(*known.runs, found[-1][1]))
    return found


def a_week(awake: Awake, **more: Any) -> list[tuple[datetime, datetime]]:
    """Of a schedule that was set on Monday, 1 June, at 08:00."""
    known = Facts(since=berlin("2026-06-01 08:00"), labels=10)
    times = looks("2026-06-01 08:00", "2026-06-08 08:10", awake)
    return trainings(parse({**LATE, **more}), known, times)


def test_a_machine_that_is_off_at_night_trains_every_day() -> None:
    """Each morning makes up for the evening before, and counts there."""
    assert a_week(by_day) == [
        (berlin(f"2026-06-0{day + 1} 08:00"), berlin(f"2026-06-0{day} 23:00"))
        for day in range(1, 8)
    ]


def test_a_machine_that_is_always_on_trains_at_its_time() -> None:
    times = [berlin(f"2026-06-0{day} 23:00") for day in range(1, 8)]
    assert a_week(always) == [(at, at) for at in times]


def test_after_one_night_off_it_trains_at_its_time_again() -> None:
    """Tuesday sees two: Monday's at 08:00 and its own at 23:00."""
    off = (berlin("2026-06-01 18:00"), berlin("2026-06-02 08:00"))
    evenings = [berlin(f"2026-06-0{day} 23:00") for day in range(2, 8)]
    assert a_week(lambda wall: not off[0] <= wall < off[1]) == [
        (berlin("2026-06-02 08:00"), berlin("2026-06-01 23:00")),
        *((at, at) for at in evenings),
    ]


def test_quiet_hours_over_its_time_leave_one_a_day() -> None:
    assert a_week(always, quiet="22:00-06:00") == [
        (berlin(f"2026-06-0{day + 1} 06:00"), berlin(f"2026-06-0{day} 23:00"))
        for day in range(1, 8)
    ]


def test_labels_cannot_take_more_than_the_maximum() -> None:
    """There are always enough labels.

    Monday's one at 08:00 is all of Monday: 23:00 is dropped, and so on each day at midnight.
    """
    known = Facts(since=berlin("2026-05-31 20:00"), labels=10)
    schedule = parse({**LATE, "after_labels": 1})
    times = looks("2026-06-01 08:00", "2026-06-04 08:00", always)
    assert trainings(schedule, known, times) == [
        (berlin("2026-06-01 08:00"), berlin("2026-05-31 23:00")),  # missed the evening before
        (berlin("2026-06-01 08:10"), berlin("2026-06-01 08:10")),
        *((berlin(f"2026-06-0{day} 00:00"),) * 2 for day in (2, 3, 4)),
    ]


def test_what_is_made_up_for_on_its_own_day_counts_there() -> None:
    """08:00 was missed until 12:00; 20:00 is one too many."""
    known = Facts(since=berlin("2026-06-01 06:00"), labels=10)
    schedule = parse({**LATE, "cron": "0 8,20 * * *"})
    noon = berlin("2026-06-01 12:00")
    times = looks("2026-06-01 12:00", "2026-06-02 09:00", always)
    next_day = berlin("2026-06-02 08:00")
    assert trainings(schedule, known, times) == [(noon, noon), (next_day, next_day)]


def test_the_next_times_know_what_is_made_up_for() -> None:
    known = Facts(since=berlin("2026-06-01 08:00"), labels=10)
    now = berlin("2026-06-02 08:00")
    assert decide(parse(LATE), known, now) == Decision(
        True, "due at 2026-06-01 23:00 Europe/Berlin", makes_up=berlin("2026-06-01 23:00")
    )
    assert next_runs(parse(LATE), known, now, count=3) == [
        now,
        berlin("2026-06-02 23:00"),
        berlin("2026-06-03 23:00"),
    ]


@pytest.mark.parametrize("start", ["2026-06-01", "2026-03-26", "2026-10-22"])
@pytest.mark.parametrize("hours", [(0, 24), (8, 18), (22, 24), (0, 3), (12, 13)])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"cron": "*/30 * * * *", "per_day": 3},
        {"cron": "0 2,23 * * *", "quiet": "22:30-02:30"},
        {"after_labels": 1, "per_day": 2, "pause_s": 5 * 3600},
    ],
)
def test_no_day_exceeds_its_maximum(
    more: dict[str, Any], hours: tuple[int, int], start: str
) -> None:
    """As it is counted; by when they began, a day has one more at most, the one made up for."""
    schedule = parse({**LATE, **more})
    known = Facts(since=berlin(f"{start} 00:00"), labels=10)
    end = f"{date.fromisoformat(start) + timedelta(days=8)} 00:00"
    times = looks(f"{start} 00:00", end, lambda wall: hours[0] <= wall.hour < hours[1])
    found = trainings(schedule, known, times)
    counted = Counter(day_of(counts, BERLIN) for _, counts in found)
    begun = Counter(day_of(at, BERLIN) for at, _ in found)
    made_up = Counter(day_of(at, BERLIN) for at, counts in found if at != counts)
    assert schedule.per_day is not None
    assert max(counted.values()) <= schedule.per_day
    assert max(begun.values()) <= schedule.per_day + 1
    assert not made_up or max(made_up.values()) == 1
