"""Cron expressions of five fields: read strictly, with the moment that comes after another one.

Note [When the clocks change]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
As cron of Debian does it. An expression that names its hours and minutes is about days: it comes once on the day on
which the clock is put back (the first time that the clock shows it), and on the day on which it is put forward, too,
where it is skipped as much later. One that begins its minutes or hours with a star is about lengths of time: it goes by
the time that passes.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MINUTE = dt.timedelta(minutes=1)
_DAY = dt.timedelta(days=1)
_LONGEST_JUMP = dt.timedelta(hours=3)
"""No clock was ever put forward or back by more, but for whole days."""
_HORIZON = 366 * 9
"""Days: the 29th of February may be eight years away."""
_TERM = re.compile(r"(\*|[0-9A-Z]+)(?:-([0-9A-Z]+))?(?:/([0-9]{1,4}))?", re.ASCII)


class BadCron(Exception):
    """The expression is none, or names a day that never comes."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone."""

    minutes: Sequence[int]
    hours: Sequence[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    by_length: bool
    zone: dt.tzinfo

    def after(self, moment: dt.datetime) -> dt.datetime:
        """This will give the first moment that comes later. Raises BadCron where none ever does."""
        return self._by_length(moment) if self.by_length else self._by_clock(moment)

    def _by_length(self, moment: dt.datetime) -> dt.datetime:
        at = moment.astimezone(dt.UTC).replace(second=0, microsecond=0) + _MINUTE
        end = at + _HORIZON * _DAY
        while at < end:
            local = at.astimezone(self.zone)
            if not self._is_day(local.date()):
                midnight = dt.datetime.combine(local.date() + _DAY, dt.time(), self.zone).astimezone(dt.UTC)
                at = max(midnight, at + _MINUTE)
            elif local.hour not in self.hours:
                at += _MINUTE * (60 - local.minute)
            elif local.minute not in self.minutes:
                at += _MINUTE
            else:
                return at
        raise BadCron("That day never comes.")

    def _by_clock(self, moment: dt.datetime) -> dt.datetime:
        # A while earlier: what the clock has skipped comes later than its place in the day.
        local = moment.astimezone(self.zone).replace(tzinfo=None) - _LONGEST_JUMP
        later = (one for one in self._shown(local) if self._at(one) > moment)
        first = next(later, None)
        if first is None:
            raise BadCron("That day never comes.")
        near = takewhile(lambda one: one <= first + _LONGEST_JUMP, later)
        return min(self._at(first), *map(self._at, near), self._at(first))

    def _shown(self, local: dt.datetime) -> Iterator[dt.datetime]:
        for ahead in range(_HORIZON):
            day = local.date() + ahead * _DAY
            if self._is_day(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        one = dt.datetime.combine(day, dt.time(hour, minute))
                        if one > local:
                            yield one

    def _at(self, local: dt.datetime) -> dt.datetime:
        return local.replace(tzinfo=self.zone).astimezone(dt.UTC)

    def _is_day(self, day: dt.date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)


def read_cron(text: str, zone: dt.tzinfo) -> Cron:
    """This will read an expression. Raises BadCron with a sentence that says what is wrong."""
    fields = text.upper().split()
    if len(fields) != 5:
        raise BadCron("Write five fields: minute, hour, day of the month, month, day of the week.")
    minute, hour, day, month, weekday = fields
    weekdays = _read(weekday, "day of the week", 0, 7, _DAYS, 0)
    cron = Cron(
        minutes=sorted(_read(minute, "minute", 0, 59)),
        hours=sorted(_read(hour, "hour", 0, 23)),
        days=_read(day, "day of the month", 1, 31),
        months=_read(month, "month", 1, 12, _MONTHS, 1),
        weekdays=frozenset(one % 7 for one in weekdays),
        # As in cron: where both are named, either will do.
        either_day=not (day.startswith("*") or weekday.startswith("*")),
        by_length=minute.startswith("*") or hour.startswith("*"),
        zone=zone,
    )
    cron.after(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))  # asks whether it ever comes
    return cron


def read_zone(name: str) -> zoneinfo.ZoneInfo:
    """This will find a time zone. Raises BadCron where there is none of that name."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise BadCron("There is no time zone of that name; write one such as Europe/Berlin.") from None


def _read(text: str, what: str, least: int, most: int, names: Sequence[str] = (), first: int = 0) -> frozenset[int]:
    def number(word: str) -> int:
        if word in names:
            return names.index(word) + first
        value = int(word) if word.isdecimal() and len(word) <= 2 else -1
        if not least <= value <= most:
            raise BadCron(f"The {what} goes from {least} to {most}; {word} is none.")
        return value

    found: set[int] = set()
    for term in text.split(","):
        match = _TERM.fullmatch(term)
        if match is None or (match[1] == "*" and match[2]):
            raise BadCron(f"{term or 'Nothing'} cannot be read as a {what}.")
        start, end, step = match.groups()
        low = least if start == "*" else number(start)
        high = most if start == "*" else number(end) if end else most if step else low
        if step is not None and not int(step):
            raise BadCron(f"A step of 0 leads nowhere ({term}).")
        if high < low:
            raise BadCron(f"{term} ends before it begins.")
        found.update(range(low, high + 1, int(step or 1)))
    return frozenset(found)
