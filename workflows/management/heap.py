"""What glibc keeps of the memory that a process has used once. Elsewhere these do nothing."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8  # from glibc's malloc.h


def keep_one() -> None:
    """This will have all threads share one heap. To be called before they start.

    By default each gets a heap of its own, and keeps what it once needed. Python's lock lets one thread allocate at a
    time anyway.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """This will return what is free. After start: loading modules leaves holes behind, a megabyte of them."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
