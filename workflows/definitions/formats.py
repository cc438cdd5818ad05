"""What a date, a moment, an e-mail address and a web address look like. Every expression here takes linear time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[Zz]|[+-]([0-9]{2}):([0-9]{2}))")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?=.{{1,255}}\Z){_LABEL}(?:\.{_LABEL})*")

_CHAR = r"A-Za-z0-9._~!$&'()*+,;=\-"
_ESCAPED = r"%[0-9A-Fa-f]{2}"
_URI = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):"
    rf"(?P<authority>//(?:(?:[{_CHAR}:]|{_ESCAPED})*+@)?+"
    rf"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[{_CHAR}]|{_ESCAPED})*+)(?::[0-9]*+)?(?=[/?#]|\Z))?"
    rf"(?:[{_CHAR}:@/]|{_ESCAPED})*+(?:\?(?:[{_CHAR}:@/?]|{_ESCAPED})*+)?(?:#(?:[{_CHAR}:@/?]|{_ESCAPED})*+)?"
)


def is_date(value: str) -> bool:
    """This will tell whether a text is a day of the calendar as RFC 3339 writes it: 2024-02-29."""
    found = _DATE.fullmatch(value)
    if not found:
        return False
    year, month, day = map(int, found.groups())
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return year >= 1 and 1 <= month <= 12 and 1 <= day <= _DAYS[month - 1] + leap


def is_date_time(value: str) -> bool:
    """This will tell whether a text is a moment as RFC 3339 writes it, with its zone: 2024-02-29T13:30:00Z."""
    found = _TIME.fullmatch(value, 11)
    if value[10:11] not in ("T", "t") or not is_date(value[:10]) or not found:
        return False
    hour, minute, second, zone_hour, zone_minute = (int(part or 0) for part in found.groups())
    # A second 60 exists, but no clock that would keep it; it is refused.
    return hour <= 23 and minute <= 59 and second <= 59 and zone_hour <= 23 and zone_minute <= 59


def is_email(value: str) -> bool:
    """This will tell whether a text looks like an e-mail address that can be written to: ada@example.com."""
    return _EMAIL.fullmatch(value) is not None


def is_uri(value: str) -> bool:
    """This will tell whether a text is an absolute URI (RFC 3986); those of the web name a host."""
    found = _URI.fullmatch(value)
    return found is not None and (bool(found["host"]) or found["scheme"].lower() not in ("http", "https"))


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date": is_date,
    "date-time": is_date_time,
    "email": is_email,
    "uri": is_uri,
}
