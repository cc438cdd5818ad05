"""A broker in a file: it outlives the process that uses it, as a real one would. For the crash sweep.

It keeps the promises of the port (confirmed means kept, unacknowledged arrives again), and hits the failpoints where
the adapter of RabbitMQ hits them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from workflows import failpoints
from workflows.messaging.port import Handler, Incoming, Outgoing


class FileBus:
    """One user's connection to the broker. `lie` is called after things were done: it may say that they were not."""

    name = "file"
    has_everything = False

    def __init__(self, path: Path, *, lie: Callable[[], None] = lambda: None) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, queue TEXT, message_id TEXT, body BLOB,"
            " taken INTEGER DEFAULT 0)"
        )
        self._lie = lie
        self._posted = 0

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """Take messages, and confirm them."""
        self.put(messages)
        failpoints.hit("relay_after_publish")
        self._lie()
        return [None] * len(messages)

    def post(self, messages: Sequence[Outgoing]) -> bool:
        """Take messages in the thread that has committed them."""
        self.put(messages)
        failpoints.hit("relay_after_publish")
        self._posted = len(messages)
        return True

    def confirm(self) -> list[str | None]:
        """Confirm what was posted."""
        self._lie()
        return [None] * self._posted

    def put(self, messages: Sequence[Outgoing]) -> None:
        """Take messages of others than the product: nothing is broken there."""
        rows = [(message.queue, message.message_id, message.body) for message in messages]
        self._database.executemany("INSERT INTO messages (queue, message_id, body) VALUES (?, ?, ?)", rows)

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        """Hand messages over, and forget them once they are dealt with."""
        marks = ", ".join("?" * len(queues))
        rows = self._database.execute(
            f"SELECT id, queue, message_id, body, taken FROM messages WHERE queue IN ({marks}) ORDER BY id LIMIT ?",
            (*queues, max_messages),
        ).fetchall()
        if not rows:
            return 0
        ids = [(row[0],) for row in rows]
        self._database.executemany("UPDATE messages SET taken = taken + 1 WHERE id = ?", ids)
        handle([Incoming(row[3], row[2] or None, row[1], bool(row[4])) for row in rows])
        failpoints.hit("before_ack")
        self._database.executemany("DELETE FROM messages WHERE id = ?", ids)
        failpoints.hit("after_ack")
        self._lie()
        return len(rows)

    def tend(self) -> None:
        """Do nothing: a file has no heartbeat."""

    def take(self, queues_but: str) -> tuple[int, str, str, bytes, bool] | None:
        """Give a service the oldest message of any queue but one: (id, queue, message_id, body, redelivered)."""
        row = self._database.execute(
            "SELECT id, queue, message_id, body, taken FROM messages WHERE queue <> ? ORDER BY id LIMIT 1",
            (queues_but,),
        ).fetchone()
        if row is None:
            return None
        self._database.execute("UPDATE messages SET taken = taken + 1 WHERE id = ?", (row[0],))
        return row[0], row[1], row[2], bytes(row[3]), bool(row[4])

    def forget(self, key: int) -> None:
        """Acknowledge what a service took."""
        self._database.execute("DELETE FROM messages WHERE id = ?", (key,))

    def depths(self) -> dict[str, int]:
        """Tell how many messages each queue holds."""
        return dict(self._database.execute("SELECT queue, count(*) FROM messages GROUP BY queue").fetchall())

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
