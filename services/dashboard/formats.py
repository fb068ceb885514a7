"""Numbers and times as pages say them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

from atlas.cli.output import gain_cell
from atlas.decimals import decimal
from atlas.progress import in_words

NONE = "–"


def percent(value: float | None) -> str:
    """A share in [0, 1], such as "93.4%"."""
    return NONE if value is None else f"{value:.1%}"


def number(value: float | None) -> str:
    """A quantity in its own unit."""
    return NONE if value is None else decimal(value)


def count(value: int | None) -> str:
    """A whole number with thousands apart."""
    return NONE if value is None else f"{value:,}"


def parse_time(value: datetime | str) -> datetime:
    """A time with zone, in UTC, from itself or from ISO 8601."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.astimezone(UTC)


def moment(value: datetime | str | None) -> Markup | str:
    """A `<time>` element in UTC; the page's script adds the reader's own clock."""
    if value is None:
        return NONE
    at = parse_time(value)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M} UTC"
    )


def day(value: datetime | str) -> Markup:
    """A `<time>` element of the day alone, where a row has little room."""
    at = parse_time(value)
    return Markup('<time datetime="{}">{:%Y-%m-%d}</time>').format(
        at.isoformat(timespec="seconds"), at
    )


def zoned(value: str, zone: str) -> Markup:
    """A `<time>` element of a time that is said in a zone's own hours: "Mon 2026-11-23, 03:00"."""
    at = datetime.fromisoformat(value)
    return Markup('<time datetime="{}">{}</time> {}').format(
        at.isoformat(), f"{at:%a %Y-%m-%d, %H:%M}", zone
    )


def capitalize_first(text: str) -> str:
    """A sentence begins with a capital; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: "3 d 4 h", "12 min 5 s", "0.4 s"."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = timedelta(seconds=round(seconds))
    hours, rest = divmod(left.seconds, 3600)
    parts = ((left.days, "d"), (hours, "h"), (rest // 60, "min"), (rest % 60, "s"))
    first = next(place for place, (value, _) in enumerate(parts) if value)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2] if value)


def leaf(path: str) -> str:
    """A class path with air around its slashes."""
    return path.replace("/", " / ")


def share(done: float, total: float) -> float:
    """How much of it is done, 0 to 100; 0 where there is nothing to do."""
    return round(100 * min(done / total, 1.0), 1) if total > 0 else 0.0


FILTERS: Mapping[str, Callable[..., Any]] = {
    "percent": percent,
    "decimal": number,
    "count": count,
    "moment": moment,
    "day": day,
    "zoned": zoned,
    "capitalize_first": capitalize_first,
    "duration": duration,
    "leaf": leaf,
    "share": share,
    "gain": gain_cell,
    "progress": in_words,
}
