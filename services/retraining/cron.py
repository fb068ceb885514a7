"""Cron expressions: the moments at which they are due, in a zone."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
import re
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab_parser

from services.retraining.clock import day_of, moment

FIELDS = {  # name → how many values, the least one, names instead of numbers
    "minute": (60, 0, ""),
    "hour": (24, 0, ""),
    "day of the month": (31, 1, ""),
    "month": (12, 1, "|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"),
    "day of the week": (8, 0, "|sun|mon|tue|wed|thu|fri|sat"),  # 7 is Sunday too
}
SUNDAY = 7
HORIZON_DAYS = 3000  # 29 February is at most eight years away


@dataclass(frozen=True)
class Cron:
    """Five fields, read as crontab(5) reads them.

    Where both the day of the month and the day of the week are restricted, either is enough.

    Attributes:
        times: of a day, ascending.
        days: of the month.
        months: 1 to 12.
        weekdays: 0 is Sunday.
        either: whether a day of the month or of the week is enough.
    """

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @classmethod
    @lru_cache(maxsize=64)
    def parse(cls, expression: str) -> "Cron":
        """Read "minute hour day month weekday", such as "0 3 * * mon-fri".

        Raises:
            ValueError: not an expression, or one that is never due.
        """
        texts = expression.lower().split()
        if len(texts) != len(FIELDS):
            raise ValueError(
                f"cron {expression!r} has {len(texts)} fields; expected five: {', '.join(FIELDS)}"
            )
        given = zip(FIELDS, texts, strict=True)
        minutes, hours, days, months, weekdays = (_values(field, text) for field, text in given)
        found = cls(
            times=tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)),
            days=days,
            months=months,
            weekdays=frozenset(one % SUNDAY for one in weekdays),
            either=not (texts[2].startswith("*") or texts[4].startswith("*")),
        )
        leap = date(2000, 1, 1)
        if not any(found.has_day(leap + timedelta(days=one)) for one in range(HORIZON_DAYS)):
            raise ValueError(f"cron {expression!r} is never due: no month has such a day")
        return found

    def has_day(self, day: date) -> bool:
        """Whether it is due on that day."""
        in_month = day.day in self.days
        in_week = day.isoweekday() % SUNDAY in self.weekdays
        fits = in_month or in_week if self.either else in_month and in_week
        return day.month in self.months and fits

    def after(self, at: datetime, zone: ZoneInfo) -> datetime:
        """The first moment after `at` at which it is due, in UTC."""
        day = day_of(at, zone)
        for ahead in range(2 * HORIZON_DAYS):  # no leap year in 1900, 2100: sixteen years are ample
            later = day + timedelta(days=ahead)
            if not self.has_day(later):
                continue
            walls = [datetime.combine(later, one) for one in self.times]
            first = bisect_right(walls, at, key=lambda wall: moment(wall, zone))
            if first < len(walls):
                return moment(walls[first], zone)
        raise AssertionError("parse refuses what is never due")


def _values(field: str, text: str) -> frozenset[int]:
    """The numbers that a field stands for.

    Celery's parser does the reading. It overlooks what follows a range that it understands
    ("1-5/2/3"), so the form is checked first.
    """
    count, least, names = FIELDS[field]
    one = rf"(\d+{names})"
    part = rf"(\*|{one}-{one})(/0*[1-9]\d*)?|{one}"
    try:
        if not all(re.fullmatch(part, piece) for piece in text.split(",")):
            raise ValueError("expected *, 5, 1-5, */10, 1-30/5 or several of them with commas")
        return frozenset(crontab_parser(count, least).parse(text))
    except (ParseException, ValueError) as error:
        raise ValueError(f"cron: {text!r} is no {field}: {error}") from error
