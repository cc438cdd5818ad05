"""How long to wait before the next attempt."""

from __future__ import annotations

from workflows.definitions.schema import RetryPolicy


def delay_before_next(policy: RetryPolicy, *, failures: int, chance: float) -> float:
    """This will give the pause in seconds after so many failed attempts of a round (contract 3.1, `retries`).

    `delay × backoff^(failures−1)`, at most `max_delay_seconds`; with jitter between half and all of it.
    """
    if not policy.delay_seconds:
        return 0
    try:
        pause = policy.delay_seconds * policy.backoff ** (failures - 1)
    except OverflowError:
        pause = policy.max_delay_seconds
    pause = min(pause, policy.max_delay_seconds)
    return pause * (0.5 + chance / 2) if policy.jitter else pause


def is_spent(policy: RetryPolicy, *, failures: int) -> bool:
    """This will tell whether no attempt of the round is left after so many failures."""
    return failures >= policy.max_attempts
