"""Moments and lengths of time, as the pages write them."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone


def moment(value: dt.datetime, *, now: dt.datetime, seconds: bool = True, zone: dt.tzinfo | None = None) -> str:
    """This will write a moment as short as it can be understood: 14:05:12, Wed 14:05, 9 Sep, 9 Sep 2025."""
    zone = zone or timezone.get_current_timezone()
    there, here = value.astimezone(zone), now.astimezone(zone)
    days = (here.date() - there.date()).days
    if days == 0:
        return f"{there:%H:%M:%S}" if seconds else f"{there:%H:%M}"
    if -6 <= days <= 6:
        return f"{there:%a %H:%M}"
    if there.year == here.year:
        return f"{there.day} {there:%b}"
    return f"{there.day} {there:%b %Y}"


def exact(value: dt.datetime, *, zone: dt.tzinfo | None = None) -> str:
    """This will write a moment in full: with its zone, and in UTC where that differs."""
    there = value.astimezone(zone or timezone.get_current_timezone())
    text = f"{there:%Y-%m-%d %H:%M:%S %Z}"
    return text if there.utcoffset() == dt.timedelta(0) else f"{text}, {value.astimezone(dt.UTC):%H:%M:%S} UTC"


def length(value: dt.timedelta | float | None) -> str:
    """This will write a length of time in its two largest units: 40 s, 6 min 40 s, 4 h 53 min, 2 d 4 h."""
    if value is None:
        return "–"
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else float(value)
    if seconds < 1:
        return "under 1 s"
    whole = int(seconds)
    for size, name, smaller, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name} {rest} {below}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def age(value: dt.timedelta) -> str:
    """This will write how old something is: below an hour in one unit, because nobody waits for its seconds."""
    minutes = int(value.total_seconds()) // 60
    return f"{minutes} min" if 1 <= minutes < 60 else length(value)
