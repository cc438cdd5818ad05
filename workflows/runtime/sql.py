"""What statements that are written by hand have in common: moments, which both databases take and give in their own
way, and names that are found by jumping.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection

ON_OFFER = "(state = 'SCHEDULED' OR state = 'STARTED' OR state = 'COMPENSATING')"
"""A task is on offer or in hand. In the words of the index `task_on_offer`: by IN, SQLite does not find it."""


def written(value: dt.datetime) -> Any:
    """This will give the moment as a parameter."""
    return connection.ops.adapt_datetimefield_value(value)


def moment_of(value: Any) -> dt.datetime | None:
    """This will read a moment of a result; SQLite gives texts without a zone, and they are UTC."""
    if value is None:
        return None
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def names_of_queues(table: str, where: str) -> str:
    """This will begin a statement with `names(queue)`, the queues of the rows for which `where` holds, and a NULL.

    They are found by jumping from one to the next in an index: what it costs is their number, not that of the rows.
    `where` stands in it twice, and so do its values.
    """
    return f"""WITH RECURSIVE names(queue) AS (
  SELECT MIN(queue) FROM {table} WHERE {where}
  UNION ALL
  SELECT (SELECT MIN(t.queue) FROM {table} t WHERE {where} AND t.queue > names.queue)
  FROM names WHERE names.queue IS NOT NULL
)"""  # noqa: S608 (constants of our own)
