"""Moments in statements that are written by hand: both databases take and give them in their own way."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection


def written(value: dt.datetime) -> Any:
    """This will give the moment as a parameter."""
    return connection.ops.adapt_datetimefield_value(value)


def moment_of(value: Any) -> dt.datetime | None:
    """This will read a moment of a result; SQLite gives texts without a zone, and they are UTC."""
    if value is None:
        return None
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
