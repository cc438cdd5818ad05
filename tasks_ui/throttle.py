"""Wrong passwords slow down whoever tries them."""

from __future__ import annotations

import hashlib
import time
from typing import Any, NamedTuple

from django.conf import settings
from django.core.cache import cache

FREE = 5
"""So many tries cost nothing; each further one needs a slot that opens after a growing delay."""

_LONGEST = 300
_MEMORY = 3600


class Turn(NamedTuple):
    """Whether a try may go ahead: not while there are seconds to `wait`; `left` free tries remain."""

    wait: int
    left: int

    @property
    def sentence(self) -> str:
        """This will say it, in the same words whether the account exists or not."""
        if self.wait:
            return f"Too many tries. Try again in {self.wait} s."
        if self.left == 1:
            return "Name and password don’t match. One more try."
        if 0 < self.left < 4:
            return f"Name and password don’t match. {self.left} more tries."
        return "Name and password don’t match."


def take_turn(*, account: str, address: str) -> Turn:
    """This will count a try before the password is looked at: parallel tries cannot slip through together."""
    key = _key(account, address)
    cache.add(f"{key}:tries", 0, timeout=_MEMORY)
    try:
        tries = cache.incr(f"{key}:tries")
    except ValueError:  # It was forgotten in between.
        tries = 1
    if tries > FREE:
        delay = min(_LONGEST, 2 ** min(tries - FREE, 10))
        opens = time.time() + delay
        if not cache.add(f"{key}:slot", opens, timeout=delay):
            left = (cache.get(f"{key}:slot") or opens) - time.time()
            return Turn(wait=max(1, round(left)), left=0)
    return Turn(wait=0, left=max(0, FREE - tries))


def forget(*, account: str, address: str) -> None:
    """This will forgive earlier tries after a right password."""
    key = _key(account, address)
    cache.delete_many([f"{key}:tries", f"{key}:slot"])


def address_of(request: Any) -> str:
    """This will give the visitor's address; behind a trusted proxy, the one that the proxy has seen."""
    if getattr(settings, "TRUST_PROXY_HEADERS", False):
        seen = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        if seen:
            return seen
    return request.META.get("REMOTE_ADDR", "")


def _key(account: str, address: str) -> str:
    # Hashed: names may hold what cache keys may not.
    return "signin:" + hashlib.sha256(f"{account.casefold()}\0{address}".encode()).hexdigest()[:32]
