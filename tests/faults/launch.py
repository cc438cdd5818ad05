"""Runs a program of the site with two things in our hands: its clock, and how large its SQLite file may become.

    python -m tests.faults.launch CONTROL_FILE manage.py run_worker

The control file holds {"offset": seconds, "full": true or false}; it is looked at again whenever it has changed, so a
running process can be moved in time, and its disk be filled, from outside.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

# More than this, some builds of SQLite do not take.
UNLIMITED = 1_073_741_823


class Control:
    """What the control file says now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self.offset = dt.timedelta()
        self.full = False

    def look(self) -> Control:
        """Read the file if it has changed. It is replaced as a whole, so that half of it is never seen."""
        with contextlib.suppress(FileNotFoundError), self._lock:
            there = os.stat(self._path)
            if (stamp := (there.st_ino, there.st_mtime_ns)) != self._stamp:
                said = json.loads(self._path.read_text())
                self._stamp, self.full = stamp, bool(said.get("full"))
                self.offset = dt.timedelta(seconds=said.get("offset", 0.0))
        return self


def write_control(path: Path, **said: Any) -> None:
    """Say what holds from now on."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(said))
    new.replace(path)


def _move_the_clock(control: Control) -> None:
    from django.utils import timezone

    true_now = timezone.now
    timezone.now = lambda: true_now() + control.look().offset  # type: ignore[assignment]


def _fill_the_disk(control: Control) -> None:
    from django.db.backends.signals import connection_created

    def created(connection: Any, **_: Any) -> None:
        if connection.vendor != "sqlite":
            return
        # Not known: the connection may have served somebody else before (orchestrator_site.sqlite keeps them).
        limited: bool | None = None

        def limit(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            nonlocal limited
            if control.look().full is not limited:
                limited = control.full
                # Below what there is means: what there is.
                connection.connection.execute(f"PRAGMA max_page_count = {1 if limited else UNLIMITED}")
            return execute(sql, params, many, context)

        connection.execute_wrappers[:] = [
            one for one in connection.execute_wrappers if not getattr(one, "fills_the_disk", False)
        ]
        limit.fills_the_disk = True  # type: ignore[attr-defined]
        connection.execute_wrappers.append(limit)

    connection_created.connect(created, weak=False)


def main() -> None:
    """Run the program."""
    control = Control(Path(sys.argv[1]))
    program, sys.argv = sys.argv[2], sys.argv[2:]
    _move_the_clock(control)
    _fill_the_disk(control)
    if program.endswith(".py"):
        sys.path.insert(0, os.getcwd())
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
