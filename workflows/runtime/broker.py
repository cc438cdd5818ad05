"""What the broker says of its queues, asked in the background: who looks never waits long, whatever the broker does.

Wiring says how to ask (`ask_with`). Without a broker there is nothing to ask, and the rows say everything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from workflows.conf import settings

log = logging.getLogger(__name__)

PATIENCE = 0.8
"""How many seconds somebody who looks waits for an answer at most."""
ASK_SECONDS = 2.0
"""How many seconds the broker has for each of its answers; a late one is there for the next who looks."""
FRESH = 3.0
"""For how many seconds an answer, or the lack of one, is good enough."""


@dataclass(frozen=True, slots=True)
class Depth:
    """What lies in a queue of the broker, and how many consumers it has (None: this broker does not count them)."""

    messages: int
    consumers: int | None


Ask = Callable[[tuple[str, ...], float], Mapping[str, Depth | None]]
"""Asks the broker for some queues within some seconds; None for a queue that is not there. Raises what it likes."""


@dataclass(frozen=True, slots=True)
class Broker:
    """What is known of the broker. `used` False: this site has none; `error`: it does not answer, and why."""

    used: bool
    error: str | None = None
    depths: Mapping[str, Depth | None] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """This will tell whether there is a broker that answers."""
        return self.used and self.error is None


@dataclass(slots=True)
class _Question:
    """One way to the broker and back, in a thread of its own."""

    url: str
    names: frozenset[str]
    begun: float = field(default_factory=time.monotonic)
    answered: threading.Event = field(default_factory=threading.Event)
    answer: Broker | None = None
    at: float = 0.0


_ask: Ask | None = None
_own: Callable[[], Mapping[str, str]] = dict
_lock = threading.Lock()
_last: _Question | None = None
_open: _Question | None = None


def ask_with(ask: Ask | None, *, own: Callable[[], Mapping[str, str]] = dict) -> None:
    """This will say how the broker is asked, and which queues of it are this site's own: name -> `inbound`, `dead`."""
    global _ask, _own, _last, _open
    with _lock:
        _ask, _own, _last, _open = ask, own, None, None


def own_queues() -> Mapping[str, str]:
    """This will name the queues of the broker that are this site's own, and say what each is for."""
    return _own() if settings.BROKER_URL is not None and _ask is not None else {}


def look(names: Iterable[str]) -> Broker:
    """This will tell what lies in these queues, as of a few seconds ago; within a second, even if the broker hangs."""
    wanted = frozenset(names)
    url = settings.BROKER_URL
    if url is None or _ask is None:
        return Broker(used=False)
    question = _question(url, wanted)
    # The patience is one for all who look: whoever comes later to a broker that hangs does not wait all over again.
    left = question.begun + PATIENCE - time.monotonic()
    if question.answered.wait(max(0.0, left)) and question.answer is not None:
        return question.answer
    return Broker(used=True, error=f"It has not answered within {PATIENCE:g} seconds.")


def _question(url: str, wanted: frozenset[str]) -> _Question:
    """The newest question that covers what is wanted; a new one where that is too old."""
    global _open, _last
    with _lock:
        if _open is not None and _open.answered.is_set():
            _last, _open = _open, None
        fresh = _last is not None and _last.url == url and time.monotonic() - _last.at < FRESH
        # That the broker does not answer is an answer about all queues.
        if _last is not None and fresh and (wanted <= _last.names or (_last.answer and _last.answer.error)):
            return _last
        # One question at a time: a broker that hangs does not gather threads.
        if _open is not None and _open.url == url:
            return _open
        names = wanted | (_last.names if _last is not None and fresh else frozenset())
        _open = _Question(url, names)
        threading.Thread(target=_find_out, args=(_open, _ask), name="queues-broker", daemon=True).start()
        return _open


def _find_out(question: _Question, ask: Ask) -> None:
    try:
        question.answer = Broker(used=True, depths=dict(ask(tuple(sorted(question.names)), ASK_SECONDS)))
    except Exception as error:
        log.info("the broker was not to be asked for its queues: %s", error)
        question.answer = Broker(used=True, error=str(error) or type(error).__name__)
    question.at = time.monotonic()
    question.answered.set()
