"""Where a service keeps its answers, so that it gives the same one when the same attempt is asked for again."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from workflows.client.answers import Answer


class Answers(Protocol):
    """Keeps answers by attempt. Called from several threads at once."""

    def get(self, key: str) -> Answer | None:
        """This will give the answer to an attempt, None if there is none."""
        ...

    def put(self, key: str, answer: Answer) -> None:
        """This will keep the answer to an attempt. When it returns, the answer is as safe as it will ever be."""
        ...


class MemoryAnswers:
    """The newest answers, for as long as the process lives."""

    def __init__(self, *, most: int = 10_000, most_bytes: int = 64 * 1_048_576) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Answer | None:
        """This will give the answer to an attempt, None if there is none (any more)."""
        with self._lock:
            kept = self._answers.get(key)
        return json.loads(kept) if kept is not None else None

    def put(self, key: str, answer: Answer) -> None:
        """This will keep an answer, and forget the oldest ones beyond the limits."""
        text = json.dumps(answer)
        with self._lock:
            self._bytes += len(text) - len(self._answers.pop(key, ""))
            self._answers[key] = text
            while len(self._answers) > self._most or (self._bytes > self._most_bytes and len(self._answers) > 1):
                self._bytes -= len(self._answers.popitem(last=False)[1])


class SqliteAnswers:
    """Answers in a file: they outlive the process, and several processes of one machine may share them."""

    def __init__(self, path: str | Path, *, days: float = 30) -> None:
        self._seconds = days * 86_400
        self._lock = threading.Lock()
        self._sql = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = FULL")
        self._sql.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, kept REAL, answer TEXT)")
        self._sql.execute("CREATE INDEX IF NOT EXISTS answers_kept ON answers (kept)")
        self._sql.execute("DELETE FROM answers WHERE kept < ?", (time.time() - self._seconds,))

    def get(self, key: str) -> Answer | None:
        """This will give the answer to an attempt, None if there is none (any more)."""
        with self._lock:
            row = self._sql.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, answer: Answer) -> None:
        """This will write an answer to disk."""
        with self._lock:
            self._sql.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, time.time(), json.dumps(answer)))

    def close(self) -> None:
        """This will close the file."""
        with self._lock:
            self._sql.close()
