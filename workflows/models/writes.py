"""What the hot path needs of a database: locked reads and set-wise writes, in the same words for each of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Protocol

Row = Sequence[Any]


class RowsDisagree(Exception):
    """A write met rows in another state than the log says.

    Somebody wrote round the door: run `manage.py check_history`.
    """


class Table:
    """A table as the hot path writes it: its name, its columns with their kinds (uuid, text, int, bool, real, time)."""

    def __init__(self, name: str, /, **columns: str) -> None:
        self.name, self.columns = name, columns


class Database(Protocol):
    """One database, inside an open transaction. Writes may travel together; `flush`, the last call, waits for them."""

    def runs_steps(self) -> None:
        """This will have the transaction counted among those that run steps, from the next statement to its end."""

    def instances(self, ids: Sequence[uuid.UUID], references: Sequence[tuple[str, str]], columns: str) -> list[Row]:
        """This will lock and read instances, by id and by (component, reference), in the order of their ids."""

    def rows(self, sql: str, keys: Sequence[Row], kinds: Sequence[str]) -> list[Row]:
        """This will run a query once for each key; `{keys}` in it stands for the list of keys, named `k(a, b, …)`."""

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """This will write rows, all columns in the table's order."""

    def update(self, table: Table, changed: Sequence[str], keys: Sequence[str], rows: Sequence[Row]) -> None:
        """This will change rows: each row holds the changed columns, then the keys (`old_x`: what x must have been).

        A key that meets no row raises RowsDisagree, here or in `flush`.
        """

    def delete(self, table: Table, keys: Sequence[str], rows: Sequence[Row]) -> None:
        """This will remove the rows that have these keys. Deletes go before all other writes."""

    def flush(self) -> None:
        """This will carry out all writes, and may commit them: nothing may follow in the transaction."""
