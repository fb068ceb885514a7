"""What a schedule says: what it waits for, and what holds it back."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
import re
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from atlas.errors import SettingsError
from services.retraining.clock import day_of, last_moment, moment, zone_of
from services.retraining.cron import Cron

QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class Schedule(BaseModel):
    """Any of the first four starts a training; each of the last three can hold it back.

    Attributes:
        cron: five fields, such as "0 3 * * *"; empty: not by the clock.
        zone: IANA name; of `cron`, `quiet` and the days of `per_day`.
        after_labels: so many more labelled pool images than at the last training.
        below: level → accuracy in (0, 1) that the present model must reach.
        drift: level → how much less sure, in (0, 1), the present model may be of the images that
            came since the last training than of those before; see `atlas.analysis.drift`.
        pause_s: at least so many seconds since the last training.
        quiet: "HH:MM-HH:MM" of every day, also over midnight; empty: none.
        per_day: at most so many trainings by this schedule on one day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str = ""
    zone: str = "UTC"
    after_labels: int | None = Field(default=None, ge=1, le=10**9)
    below: dict[str, float] = Field(default_factory=dict)
    drift: dict[str, float] = Field(default_factory=dict)
    pause_s: float = Field(default=0.0, ge=0, le=366 * 86400)
    quiet: str = ""
    per_day: int | None = Field(default=None, ge=1, le=1440)

    @model_validator(mode="after")
    def check(self) -> Self:
        """Refuse what cannot be read, never starts or never ends."""
        zone_of(self.zone)
        if self.cron:
            Cron.parse(self.cron)
        if not (self.cron or self.after_labels or self.below or self.drift):
            raise ValueError("nothing starts it: give cron, after_labels, below or drift")
        for name, bounds, such in (("below", self.below, 0.8), ("drift", self.drift, 0.1)):
            wrong = {level: bound for level, bound in bounds.items() if not 0 < bound < 1}
            if wrong:
                raise ValueError(f"{name} {wrong}: expected between 0 and 1, such as {such}")
        if self.below and not (self.pause_s or self.per_day):
            raise ValueError(
                "below alone would train at every new label until the bound is reached; "
                "give a pause or a maximum per day too"
            )
        if self.quiet:
            start, end = self.quiet_hours()
            if start == end:
                raise ValueError(f"quiet hours {self.quiet!r} begin when they end")
        return self

    def time_zone(self) -> ZoneInfo:
        """The zone that its times are of."""
        return zone_of(self.zone)

    def quiet_hours(self) -> tuple[time, time]:
        """When they begin and end.

        Raises:
            ValueError: not "HH:MM-HH:MM".
        """
        found = QUIET.fullmatch(self.quiet)
        if found is None:
            raise ValueError(f"quiet hours {self.quiet!r}: expected such as 08:00-18:00")
        hours = [int(one) for one in found.groups()]
        return time(hours[0], hours[1]), time(hours[2], hours[3])

    def quiet_until(self, at: datetime) -> datetime | None:
        """When the quiet hours end that `at` is in; None outside."""
        if not self.quiet:
            return None
        zone = self.time_zone()
        start, end = self.quiet_hours()
        today = day_of(at, zone)
        for day in (today - timedelta(days=1), today):
            last = day if start < end else day + timedelta(days=1)
            begin = moment(datetime.combine(day, start), zone)
            until = last_moment(datetime.combine(last, end), zone)
            if begin <= at < until:
                return until
        return None


def parse(content: Mapping[str, Any]) -> Schedule:
    """A schedule from plain data.

    Raises:
        SettingsError: it cannot be one; says what is wrong.
    """
    try:
        return Schedule.model_validate(content)
    except ValidationError as error:
        said = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"]
            for one in error.errors()
        ]
        text = "; ".join(said).replace("Value error, ", "")
        raise SettingsError(f"not a schedule: {text}") from error
