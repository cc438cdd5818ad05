"""Ids that can be derived: the same attempt has the same message id and the same human task id, whoever asks and how
often.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid


def new_instance_id() -> uuid.UUID:
    """This will make an id that sorts by time (RFC 9562, version 7), so that new rows lie side by side."""
    stamp = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(10), "big")
    value = (stamp & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (chance >> 68 & 0xFFF) << 64 | 0b10 << 62
    return uuid.UUID(int=value | (chance & 0x3FFFFFFFFFFFFFFF))


def message_id(instance: uuid.UUID, *, event_name: str, position: int, attempt: int, compensation: bool) -> uuid.UUID:
    """This will give the id of the one message of that name about that attempt."""
    return _derived(instance, f"{event_name}/{position}/{attempt}/{'undo' if compensation else 'do'}")


def human_task_id(instance: uuid.UUID, *, position: int, attempt: int, compensation: bool) -> uuid.UUID:
    """This will give the id of the human task that stands for that attempt."""
    return _derived(instance, f"human/{position}/{attempt}/{'undo' if compensation else 'do'}")


def read_uuid(value: object) -> uuid.UUID | None:
    """This will read an id that came from outside, or from a database without a type for it; None where it is none."""
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def _derived(instance: uuid.UUID, name: str) -> uuid.UUID:
    """A digest that begins with the instance's time (RFC 9562, version 8): ids made together lie side by side in an
    index.
    """
    digest = hashlib.blake2b(name.encode(), key=instance.bytes, digest_size=16).digest()
    chance = int.from_bytes(digest[6:], "big")
    return uuid.UUID(int=instance.int >> 80 << 80 | chance & ~_FIXED | _VERSION_8)


_FIXED = 0xF << 76 | 0b11 << 62
"""The bits of the version and of the variant."""
_VERSION_8 = 0x8 << 76 | 0b10 << 62
