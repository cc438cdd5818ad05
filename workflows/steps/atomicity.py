"""Keeps a step inside the transaction that records it.

Note [One transaction]
~~~~~~~~~~~~~~~~~~~~~~
What a step writes, its outcome, the events and what is scheduled next are committed together, or not at all. A step
that could commit by itself would break that in the one case that matters, when the process dies right afterwards. So
whatever would end the transaction is refused: Django refuses `commit()`, `rollback()` and durable blocks by itself in
an open block; statements written by hand, and a block that is marked to be rolled back although the step goes on, are
found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

_ENDS = frozenset({"COMMIT", "END", "ROLLBACK", "ABORT", "BEGIN", "START", "PREPARE"})
_WHY = (
    "A step runs in the transaction that records what became of it: it may not commit, roll back or begin one of its"
    " own. Open `transaction.atomic()` for a part that may fail alone; raise to undo all."
)


class TransactionEnded(Exception):
    """A step tried to end the transaction that it runs in."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}. {_WHY}")


@contextmanager
def inside_its_transaction() -> Iterator[None]:
    """This will refuse what would end the transaction while the block lasts. Raises TransactionEnded."""
    with connection.execute_wrapper(_refuse):
        try:
            yield
        except (TransactionManagementError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "durable" not in str(error):
                raise
            raise TransactionEnded(str(error).rstrip(".")) from error
    if connection.needs_rollback:
        raise TransactionEnded("The transaction was marked to be rolled back")


@contextmanager
def by_itself() -> Iterator[None]:
    """This will undo what the block has written where it raises, and leave all that was written before as it is.

    The savepoint is made by the first statement: a block that asks nothing of the database costs it nothing.
    """
    part, is_open = transaction.atomic(), False

    def begin(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        nonlocal is_open
        if not is_open:
            is_open = True
            part.__enter__()
        return execute(sql, params, many, context)

    try:
        with connection.execute_wrapper(begin):
            yield
    except BaseException as error:
        if is_open:
            part.__exit__(type(error), error, error.__traceback__)
        raise
    if is_open:
        part.__exit__(None, None, None)


def _refuse(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    words = str(sql).split(None, 2)
    if words and words[0].upper().rstrip(";") in _ENDS and (len(words) < 2 or words[1].upper() not in _PARTS):
        raise TransactionEnded(f"It said {words[0].upper()}")
    return execute(sql, params, many, context)


_PARTS = frozenset({"TO", "ATOMIC"})
"""ROLLBACK TO a savepoint stays inside; BEGIN ATOMIC opens the body of a function."""
