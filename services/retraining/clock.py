"""Wall-clock times of a zone as moments, and back to days.

Where clocks are put forward, a time that they leave out is the first moment after the gap; where
they are put back, a time that comes twice is its first coming. So every wall-clock time is exactly
one moment, and later times are never earlier moments. Only what is to last until a time lasts until
that comes again.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

RESOLUTION = timedelta(seconds=1)
OF_THE_MACHINE = frozenset({"localtime", "posixrules", "Factory"})  # names of no place


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name such as "Europe/Berlin".

    Raises:
        ValueError: no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones
        raise ValueError(f"no time zone {name!r}; expected one such as Europe/Berlin") from error


def moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks of `zone` show `wall` (without a zone), in UTC; see above for the two days.

    PEP 495: in a gap, fold=0 counts with the offset of before and lands after it, fold=1 lands
    before it.
    """
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _change_between(before, first, zone)


def last_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks of `zone` get to `wall` for the last time, in UTC.

    Clocks that are put back to exactly `wall` do not get there from an earlier time: all those have
    passed when it comes first.
    """
    first = moment(wall, zone)
    last = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)  # before `first` in a gap
    shown_before = (last - RESOLUTION).astimezone(zone).replace(tzinfo=None)
    return last if last > first and shown_before < wall else first


def day_of(at: datetime, zone: ZoneInfo) -> date:
    """The last day whose midnight is not after `at`.

    That is the date on the clocks, but for zones that put them back across midnight.
    """
    day = at.astimezone(zone).date() + timedelta(days=1)
    while midnight(day, zone) > at:
        day -= timedelta(days=1)
    return day


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins, in UTC."""
    return moment(datetime.combine(day, time()), zone)


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The moment in (before, after] at which the clocks are changed."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > RESOLUTION:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)  # zones change on whole seconds
