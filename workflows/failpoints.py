"""Named places where tests break a process: nothing at all unless a test's settings and the environment both say so.

Settings of tests allow it (`FAILPOINTS = True`; the site's own settings never do), and the environment variable
FAILPOINTS says what happens where: `before_commit=kill;before_ack=nth(3, raise)`, or `@FILE` for a file with such
lines, which is read again whenever it changes.

| action             | does                                                                        |
| ------------------ | --------------------------------------------------------------------------- |
| kill               | ends the process at once, like SIGKILL                                      |
| raise              | raises Injected                                                             |
| sleep(S)           | holds the thread for S seconds                                              |
| barrier(FOLDER, N) | holds it until N threads, of whatever processes, wait in the folder         |
| nth(K, ACTION)     | acts at the K-th hit of that point in this process, never before or after   |
| once(FILE, ACTION) | acts for the first hit of all processes that name the file                  |
| chance(P, ACTION)  | acts with the probability P                                                 |
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

POINTS: Mapping[str, str] = {
    "request_received": "a call of the API has come in, nothing is read",
    "body_parsed": "its body is read",
    "before_answer": "what was asked is done, the answer is not on its way",
    "message_received": "a batch has come from the broker",
    "message_parsed": "its messages are read, nothing is done",
    "before_lock": "the transaction is open, no instance is locked",
    "after_lock": "the instances are locked, nothing is loaded",
    "before_decide": "everything is loaded, one command is about to be judged",
    "decided": "a command is accepted, nothing is taken down",
    "transition": "one event is about to move its row",
    "before_write": "all is decided, nothing is written",
    "instances_written": "instances, stages and tasks are written",
    "log_written": "the events are written",
    "outbox_written": "the messages are written down to be sent",
    "inbox_written": "the ids of handled messages are written",
    "before_commit": "everything is written",
    "after_commit": "committed, nobody knows",
    "before_push": "committed and cached, no listener is told",
    "after_push": "the listeners are told",
    "before_ack": "messages from the broker are dealt with, not acknowledged",
    "after_ack": "they are acknowledged",
    "relay_claimed": "messages are claimed, nothing is sent",
    "relay_before_publish": "they are about to be sent",
    "relay_after_publish": "they are sent, nothing is confirmed",
    "relay_after_confirm": "the bus has confirmed them, nothing is settled",
    "relay_before_settle": "their rows are about to be settled",
    "relay_after_settle": "their rows are settled",
    "clock_claimed": "what is due is known, nothing has fired",
    "clock_fired": "deadlines have fired, their rows are still there",
    "clock_settled": "their rows are gone",
    "schedule_started": "a schedule has started an instance, its next moment is not written down",
    "bulk_retried": "a batch of failed instances is retried, how far it got is not written down",
    "step_begin": "a step's turn has come, under the lock",
    "step_end": "a step has done its work, nothing is recorded of it",
    "lease_taken": "a lease is written down, the task has not begun",
    "lease_given": "the task has begun, the worker has not heard of it",
    "quarantine_hold": "a message is about to be kept in quarantine",
    "quarantine_held": "it is kept",
    "quarantine_taken": "an operator has taken a message in hand",
    "quarantine_handed_in": "it is handed in again, and still open",
    "shutdown": "a worker was asked to end",
}
"""Every point, and how far things are when it is reached."""

ACTIVE: Callable[[str], None] | None = None
"""What is called at every point; None: nothing."""

Action = Callable[[], None]


class Injected(Exception):
    """A test wanted this to fail. Outside of tests nobody ever sees it."""


def hit(point: str) -> None:
    """This will do what the tests have asked for at this point: nothing, as a rule."""
    if ACTIVE is not None:
        ACTIVE(point)


def arm(said: str | None, *, allowed: bool) -> None:
    """This will do at each point what was said, where that is allowed. Raises ValueError where it makes no sense."""
    global ACTIVE
    if not said or not allowed:
        ACTIVE = None
    elif said.startswith("@"):
        ACTIVE = _Followed(Path(said[1:]))
    else:
        ACTIVE = _Armed(said)


class _Armed:
    def __init__(self, said: str) -> None:
        self._actions: dict[str, Action] = {}
        for part in re.split(r"[;\n]", said):
            if part.strip():
                point, _, action = part.partition("=")
                if point.strip() not in POINTS:
                    raise ValueError(f"There is no failpoint {point.strip()!r}.")
                self._actions[point.strip()] = _action(action.strip())

    def __call__(self, point: str) -> None:
        if (action := self._actions.get(point)) is not None:
            action()


class _Followed:
    """A file that a test rewrites while the process runs; a missing one says nothing."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen, self._armed = path, (0, 0), _Armed("")

    def __call__(self, point: str) -> None:
        try:
            status = self._path.stat()
            now = (status.st_mtime_ns, status.st_size)
            if now != self._seen:
                self._seen, self._armed = now, _Armed(self._path.read_text())
        except FileNotFoundError:
            return
        self._armed(point)


def _action(said: str) -> Action:
    name, _, rest = said.partition("(")
    given = rest.removesuffix(")")
    first, _, last = (part.strip() for part in given.partition(","))
    match name.strip():
        case "kill":
            return _kill
        case "raise":
            return _raise
        case "sleep":
            seconds = float(first)
            return lambda: time.sleep(seconds)
        case "barrier":
            return _barrier(Path(first), int(last))
        case "nth":
            return _nth(int(first), _action(last))
        case "once":
            return _once(Path(first), _action(last))
        case "chance":
            return _chance(float(first), _action(last))
    raise ValueError(f"There is no action {said!r}.")


def _kill() -> None:
    # As after SIGKILL: no handler runs, no buffer is flushed, no transaction is ended politely.
    os._exit(137)


def _raise() -> None:
    raise Injected("A test wanted this to fail.")


def _barrier(folder: Path, parties: int, *, seconds: float = 30) -> Action:
    def wait() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{os.getpid()}-{threading.get_ident()}").touch()
        end = time.monotonic() + seconds
        while len(os.listdir(folder)) < parties and time.monotonic() < end:
            time.sleep(0.001)

    return wait


def _nth(count: int, action: Action) -> Action:
    seen, lock = [0], threading.Lock()

    def act() -> None:
        with lock:
            seen[0] += 1
            now = seen[0]
        if now == count:
            action()

    return act


def _once(path: Path, action: Action) -> Action:
    def act() -> None:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        action()

    return act


def _chance(probability: float, action: Action) -> Action:
    def act() -> None:
        if random.random() < probability:  # noqa: S311
            action()

    return act
