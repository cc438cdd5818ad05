"""Processes that begin together, and the time until the last of them is done."""

import itertools
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

Share = Sequence[int]
Work = Callable[[Share, Callable[[], None]], None]

_SECONDS_TO_GET_READY = 60


def race(work: Work, shares: Sequence[Share]) -> float:
    """Run `work(share, ready)` in a process for each share; return the seconds from the last `ready()` to the last end.

    What a process does before it calls `ready()` is not timed: connecting, one instance to warm up.
    """
    context = multiprocessing.get_context("fork")
    line = context.Barrier(len(shares) + 1)
    ends = context.Array("d", len(shares))

    def run(lane: int, share: Share) -> None:
        try:
            work(share, lambda: _wait(line))
            ends[lane] = time.monotonic()
        except BaseException:
            line.abort()
            traceback.print_exc()
            sys.exit(1)

    processes = [context.Process(target=run, args=(lane, share)) for lane, share in enumerate(shares)]
    for process in processes:
        process.start()
    try:
        _wait(line)
    finally:
        begun = time.monotonic()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("A process failed; see above.")
    return max(ends) - begun


def shares(first: int, count: int, processes: int) -> list[range]:
    """Divide the numbers from `first` on among processes."""
    cuts = [first + count * lane // processes for lane in range(processes + 1)]
    return [range(low, high) for low, high in itertools.pairwise(cuts)]


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which that part (0 to 1) of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]


def _wait(line: Any) -> None:
    line.wait(_SECONDS_TO_GET_READY)
