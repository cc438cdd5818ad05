"""What glibc keeps of the memory that a process has used once. Elsewhere these do nothing."""

from __future__ import annotations

import contextlib
import ctypes

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 128 * 1024
"""What is larger goes back as soon as it is not needed. By default glibc learns to keep it."""

GIVE_BACK_SECONDS = 5.0
"""How often what is free is given back. It takes a millisecond."""


def keep_one() -> None:
    """This will have all threads share one heap. To be called before they start.

    By default each gets a heap of its own, and keeps what it once needed. Python's lock lets one thread allocate at a
    time anyway.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE)


def give_back() -> None:
    """This will return what is free, by now and again. Loading modules leaves holes behind, and so does much work."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
