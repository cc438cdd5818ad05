"""Django's SQLite backend, but a connection that is closed waits for the next one who wants it.

The ASGI handler gives each request a thread of its own, and with it a connection of its own. Opening a database file
costs more than most requests do; for PostgreSQL the driver's pool does what is done here.
"""

from __future__ import annotations

import atexit
import threading
from collections import defaultdict
from typing import Any

from django.db.backends.sqlite3 import base

_KEPT = 16
_idle: defaultdict[str, list[Any]] = defaultdict(list)
_lock = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection of one thread at a time; the raw connection beneath may serve another thread after it."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """This will take a kept connection to the same file, or open one."""
        self._file = str(conn_params["database"])  # settings may name another one by the time it is closed
        with _lock:
            kept = _idle[self._file]
            if kept:
                return kept.pop()
        return super().get_new_connection(conn_params)

    def _close(self) -> None:
        raw = self.connection
        if raw is None:
            return
        if raw.in_transaction:
            raw.rollback()
        with _lock:
            kept = _idle[self._file]
            if len(kept) < _KEPT and not self.is_in_memory_db():
                kept.append(raw)
                return
        super()._close()  # type: ignore[misc]  # the stubs leave it out


@atexit.register
def close_kept() -> None:
    """This will close the connections that nobody uses; the last one to go writes the log back into the file."""
    with _lock:
        for kept in _idle.values():
            while kept:
                kept.pop().close()
