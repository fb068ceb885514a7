"""When people are told that images wait."""

from datetime import UTC, datetime

import pytest

from atlas.errors import SettingsError
from atlas.settings import RemindersSettings
from services.reminders.message import Message
from services.reminders.plan import Decision, Facts, decide, next_time, schedule_of

BERLIN = {"cron": "0 9 */2 * *", "zone": "Europe/Berlin"}  # 9:00 on odd days of the month


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def settings(**values: object) -> RemindersSettings:
    return RemindersSettings.model_validate(BERLIN | values)


def told(now: str, facts: Facts, **values: object) -> Decision | None:
    given = settings(**values)
    schedule = schedule_of(given)
    assert schedule is not None
    return decide(schedule, given, facts, at(now))


def test_every_other_day_at_nine() -> None:
    """9:00 in Berlin is 7:00 UTC in June, 8:00 in January."""
    schedule = schedule_of(settings())
    assert schedule is not None
    assert next_time(schedule, at("06-01T07:00")) == at("06-03T07:00")
    assert next_time(schedule, at("01-01T08:00")) == at("01-03T08:00")


def test_not_before_its_time() -> None:
    facts = Facts(since=at("06-01T07:00"), waiting=4)
    assert told("06-03T06:59", facts) is None
    found = told("06-03T07:00", facts)
    assert found == Decision(at("06-03T07:00"), True, "4 images are waiting")


def test_not_when_nothing_waits() -> None:
    facts = Facts(since=at("06-01T07:00"))
    found = told("06-03T07:00", facts)
    assert found is not None
    assert (found.send, found.reason) == (False, "not reminded: no image is waiting")
    few = Facts(since=at("06-01T07:00"), waiting=1)
    found = told("06-03T07:00", few, least=4)
    assert found is not None
    assert (found.send, found.reason) == (False, "not reminded: 1 image is waiting")


def test_not_again_before_the_pause_is_over() -> None:
    """Told at 7:00 UTC, 20 hours' pause: until 3:00 UTC, which is 5:00 in Berlin."""
    hourly = {"cron": "0 * * * *"}
    facts = Facts(at("06-01T07:00"), last_sent=at("06-01T07:00"), waiting=4)
    found = told("06-01T08:00", facts, **hourly)
    assert found is not None
    assert (found.send, found.reason) == (
        False,
        "not reminded: pause until 2026-06-02 05:00 Europe/Berlin",
    )
    later = Facts(at("06-02T02:00"), last_sent=at("06-01T07:00"), waiting=4)
    found = told("06-02T03:00", later, **hourly)
    assert found is not None
    assert found.send


def test_in_quiet_hours_it_waits_and_is_told_after() -> None:
    """Due at 6:00 Berlin, quiet until 8:00 Berlin (6:00 UTC)."""
    early = {"cron": "0 6 * * *", "quiet": "20:00-08:00"}
    facts = Facts(since=at("06-01T12:00"), waiting=2)
    assert told("06-02T04:00", facts, **early) is None
    assert told("06-02T05:59", facts, **early) is None
    found = told("06-02T06:00", facts, **early)
    assert found == Decision(at("06-02T04:00"), True, "2 images are waiting")


def test_what_was_missed_is_told_once() -> None:
    """Off for ten days, five times missed: the first of them is answered, for all."""
    facts = Facts(since=at("06-01T07:00"), waiting=1)
    found = told("06-12T10:00", facts)
    assert found == Decision(at("06-03T07:00"), True, "1 image is waiting")
    answered = Facts(since=at("06-12T10:00"), last_sent=at("06-12T10:00"), waiting=1)
    assert told("06-13T06:00", answered) is None


def test_off_without_a_schedule() -> None:
    assert schedule_of(RemindersSettings()) is None


@pytest.mark.parametrize(
    "wrong", [{"cron": "0 9 * *"}, {"zone": "Mars/Base"}, {"quiet": "20-8"}, {"cron": "0 0 30 2 *"}]
)
def test_what_cannot_be_read_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        schedule_of(settings(**wrong))


def test_words() -> None:
    one = Message(7, "garments", 1, "http://here/")
    assert one.subject == "1 image is waiting: garments"
    four = Message(7, "garments", 4, "http://here/")
    assert four.text == "4 images are waiting to be labelled in garments: http://here/"
