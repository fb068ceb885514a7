"""Wall-clock times on the two odd days of the year, and cron expressions against slow twins."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
import pytest

from services.retraining.clock import day_of, last_moment, midnight, moment, zone_of
from services.retraining.cron import Cron
from services.retraining.schedule import parse

BERLIN = zone_of("Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def naive(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("wall", "wanted"),
    [
        ("2026-03-29 01:59", "2026-03-29 00:59"),  # winter, UTC+1
        ("2026-03-29 02:00", "2026-03-29 01:00"),  # 2:00 becomes 3:00: the first after the gap
        ("2026-03-29 02:30", "2026-03-29 01:00"),
        ("2026-03-29 03:00", "2026-03-29 01:00"),  # summer, UTC+2
        ("2026-03-29 03:01", "2026-03-29 01:01"),
        ("2026-10-25 01:59", "2026-10-24 23:59"),
        ("2026-10-25 02:30", "2026-10-25 00:30"),  # twice; the second time would be 01:30
        ("2026-10-25 03:00", "2026-10-25 02:00"),  # 3:00 became 2:00 first
    ],
)
def test_berlin_on_the_odd_days(wall: str, wanted: str) -> None:
    assert moment(naive(wall), BERLIN) == utc(wanted)


@pytest.mark.parametrize(
    ("name", "wall", "wanted"),
    [
        ("Europe/Berlin", "2026-10-25 01:59", "2026-10-24 23:59"),
        ("Europe/Berlin", "2026-10-25 02:00", "2026-10-25 00:00"),  # gone back to, not reached
        ("Europe/Berlin", "2026-10-25 02:30", "2026-10-25 01:30"),  # first at 00:30
        ("Europe/Berlin", "2026-10-25 03:00", "2026-10-25 02:00"),
        ("Europe/Berlin", "2026-03-29 02:30", "2026-03-29 01:00"),  # left out
        ("Australia/Lord_Howe", "2026-04-05 01:30", "2026-04-04 14:30"),  # 2:00 became 1:30
        ("Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 15:15"),  # first at 14:45
        ("Australia/Lord_Howe", "2026-04-05 02:00", "2026-04-04 15:30"),
        ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30"),  # 2:00 became 2:30
    ],
)
def test_the_last_time_that_clocks_reach_a_time(name: str, wall: str, wanted: str) -> None:
    assert last_moment(naive(wall), zone_of(name)) == utc(wanted)


def quiet_until(hours: str, zone: str, at: str) -> datetime | None:
    return parse({"after_labels": 1, "zone": zone, "quiet": hours}).quiet_until(utc(at))


def test_quiet_hours_that_end_in_the_hour_that_comes_twice() -> None:
    """25 October: 02:30 comes at 00:30 and at 01:30 UTC; they end the second time."""
    end = utc("2026-10-25 01:30")
    for inside in ("2026-10-24 23:00", "2026-10-25 00:15", "2026-10-25 00:45", "2026-10-25 01:15"):
        assert quiet_until("01:00-02:30", "Europe/Berlin", inside) == end
    assert quiet_until("01:00-02:30", "Europe/Berlin", "2026-10-24 22:59") is None
    assert quiet_until("01:00-02:30", "Europe/Berlin", "2026-10-25 01:30") is None


def test_quiet_hours_that_begin_in_the_hour_that_comes_twice() -> None:
    """They begin when 02:30 comes first (00:30 UTC) and last until 05:00 (04:00 UTC)."""
    assert quiet_until("02:30-05:00", "Europe/Berlin", "2026-10-25 00:29") is None
    for inside in ("2026-10-25 00:30", "2026-10-25 01:15", "2026-10-25 03:59"):
        assert quiet_until("02:30-05:00", "Europe/Berlin", inside) == utc("2026-10-25 04:00")


def test_quiet_hours_where_clocks_move_by_half_an_hour() -> None:
    """Lord Howe: 02:00 becomes 01:30 at 15:00 UTC on 4 April, 02:30 at 15:30 UTC on 3 October."""
    back, forth = utc("2026-04-04 15:15"), utc("2026-10-03 15:30")
    for inside in ("2026-04-04 13:00", "2026-04-04 14:50", "2026-04-04 15:14"):  # 01:44 again
        assert quiet_until("00:00-01:45", "Australia/Lord_Howe", inside) == back
    assert quiet_until("00:00-01:45", "Australia/Lord_Howe", "2026-04-04 15:15") is None
    assert quiet_until("00:00-02:15", "Australia/Lord_Howe", "2026-10-03 15:29") == forth
    assert quiet_until("00:00-02:15", "Australia/Lord_Howe", "2026-10-03 15:30") is None


def test_a_day_that_a_zone_left_out() -> None:
    """Samoa went from the end of 29 December 2011 to 31 December."""
    apia = zone_of("Pacific/Apia")
    assert moment(naive("2011-12-30 03:00"), apia) == utc("2011-12-30 10:00")
    assert moment(naive("2011-12-31 00:00"), apia) == utc("2011-12-30 10:00")


def test_a_day_that_begins_at_one() -> None:
    """Cairo leaves out midnight to one on 24 April 2026."""
    cairo = zone_of("Africa/Cairo")
    assert midnight(date(2026, 4, 24), cairo) == utc("2026-04-23 22:00")
    assert day_of(utc("2026-04-23 21:59"), cairo) == date(2026, 4, 23)
    assert day_of(utc("2026-04-23 22:00"), cairo) == date(2026, 4, 24)


def test_clocks_put_back_across_midnight() -> None:
    """St. John's, 2010-11-07: one minute past midnight became 23:01 of the day before."""
    zone = zone_of("America/St_Johns")
    again = utc("2010-11-07 03:00")
    assert again.astimezone(zone).date() == date(2010, 11, 6)
    assert day_of(again, zone) == date(2010, 11, 7)  # whose midnight had come already
    assert midnight(date(2010, 11, 7), zone) == utc("2010-11-07 02:30")


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1)),
    st.timedeltas(timedelta(0), timedelta(days=2)),
    st.sampled_from(ZONES),
)
def test_later_is_not_earlier(wall: datetime, ahead: timedelta, name: str) -> None:
    zone = zone_of(name)
    wall, later = wall.replace(microsecond=0), (wall + ahead).replace(microsecond=0)
    first = moment(wall, zone)
    assert first <= moment(later, zone)
    assert midnight(day_of(first, zone), zone) <= first
    assert midnight(day_of(first, zone) + timedelta(days=1), zone) > first


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc", "Europe"])
def test_no_such_zone(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        zone_of(name)


def next_times(cron: str, after: str, count: int) -> list[datetime]:
    at, found = utc(after), []
    for _ in range(count):
        at = Cron.parse(cron).after(at, BERLIN)
        found.append(at)
    return found


def test_nightly_over_the_gap() -> None:
    assert next_times("30 2 * * *", "2026-03-27 12:00", 3) == [
        utc("2026-03-28 01:30"),
        utc("2026-03-29 01:00"),  # 3:00, the first moment after the gap
        utc("2026-03-30 00:30"),
    ]


def test_what_lies_in_the_gap_runs_once() -> None:
    assert next_times("*/20 2,3 * * *", "2026-03-29 00:00", 3) == [
        utc("2026-03-29 01:00"),  # 2:00, 2:20, 2:40 and 3:00
        utc("2026-03-29 01:20"),
        utc("2026-03-29 01:40"),
    ]


def test_nightly_over_the_fold_runs_once() -> None:
    assert next_times("30 2 * * *", "2026-10-23 12:00", 3) == [
        utc("2026-10-24 00:30"),
        utc("2026-10-25 00:30"),
        utc("2026-10-26 01:30"),
    ]


def test_either_day_is_enough_where_both_are_given() -> None:
    """Of June 2026 the first is a Monday; the 13th is a Saturday."""
    days = {one for one in range(1, 31) if Cron.parse("0 0 13 6 fri").has_day(date(2026, 6, one))}
    assert days == {5, 12, 13, 19, 26}
    both = Cron.parse("0 0 */2 6 fri")  # a step of all is no restriction, as crontab(5) has it
    assert [one for one in range(1, 31) if both.has_day(date(2026, 6, one))] == [5, 19]


@pytest.mark.parametrize(
    ("text", "weekdays"),
    [
        ("7", {0}),
        ("5-7", {5, 6, 0}),
        ("fri-mon", {5, 6, 0, 1}),
        ("MON-FRI", {1, 2, 3, 4, 5}),
        ("*/2", {0, 2, 4, 6}),
        ("1,3", {1, 3}),
    ],
)
def test_weekdays(text: str, weekdays: set[int]) -> None:
    assert Cron.parse(f"0 0 * * {text}").weekdays == weekdays


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 3 * *", "4 fields; expected five"),
        ("60 3 * * *", "'60' is no minute: .*60 > 59"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of the month"),
        ("0 0 * 13 *", "'13' is no month"),
        ("0 0 * * 8", "'8' is no day of the week"),
        ("*/0 * * * *", r"'\*/0' is no minute: expected"),
        ("1-5/2/3 * * * *", "is no minute: expected"),
        ("mon * * * *", "is no minute: expected"),
        ("5/10 * * * *", "is no minute: expected"),
        ("-5 * * * *", "is no minute: expected"),
        ("1,,2 * * * *", "is no minute: expected"),
        ("0 0 30 2 *", "never due"),
    ],
)
def test_no_cron(cron: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cron.parse(cron)


def test_once_in_eight_years() -> None:
    due = Cron.parse("0 0 29 2 *").after(utc("2096-03-01 00:00"), BERLIN)
    assert due == utc("2104-02-28 23:00")


@pytest.mark.parametrize("start", ["2026-03-28 22:00", "2026-10-24 22:00", "2026-06-10 00:00"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "*/20 2,3 * * sun", "0 0 * * 0", "15 1 29 * *"])
def test_after_is_the_slow_walk(cron: str, start: str) -> None:
    """Go through the wall-clock times of 48 hours: each is one moment, twins count once."""
    found = Cron.parse(cron)
    wall, wanted = naive(start) - timedelta(hours=6), set()
    for minute in range(54 * 60):
        one = wall + timedelta(minutes=minute)
        if one.time() in found.times and found.has_day(one.date()):
            wanted.add(moment(one, BERLIN))
    begin, end = utc(start), utc(start) + timedelta(hours=40)
    got, at = [], begin
    while (at := found.after(at, BERLIN)) <= end:
        got.append(at)
    assert got == sorted(one for one in wanted if begin < one <= end)
