"""What a decision can't know by itself, asked of the database and of chance."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from workflows.definitions.schema import Phase
from workflows.definitions.search import SearchValue
from workflows.engine.plugins import Expected
from workflows.models.locking import writing
from workflows.models.writes import Database
from workflows.runtime import plugins


class Directory:
    """Users and groups by name, looked up once for each name of a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, str] = {}

    def assignee_kind(self, name: str) -> str:
        """This will tell whether the name is that of an active `user` or of a `group`; a user goes first."""
        kind = self._known.get(name)
        if kind is None:
            users, groups = get_user_model()._meta.db_table, Group._meta.db_table
            # One raw query: this is asked whenever work reaches a person.
            row = self._database.rows(
                f"SELECT (SELECT count(*) FROM {users} u WHERE u.username = k.a AND u.is_active),"  # noqa: S608
                f" (SELECT count(*) FROM {groups} g WHERE g.name = k.a) FROM {{keys}}",
                [(name,)],
                ("text",),
            )[0]
            kind = self._known[name] = "user" if row[0] else "group" if row[1] else ""
        return kind

    def chance(self) -> float:
        """This will give a number from 0 up to, not including, 1."""
        return random.random()  # noqa: S311 (jitter, not a secret)

    def expected_plugins(self, activity: str, phase: Phase, attributes: Mapping[str, SearchValue]) -> Expected:
        """This will ask the registry, inside the transaction that freezes its answer."""
        return plugins.expected(activity, phase, attributes)


def assignee_kinds(names: Iterable[str]) -> dict[str, str]:
    """This will tell of each name whether it is a `user`, a `group` or neither ("")."""
    with writing() as database:
        directory = Directory(database)
        return {name: directory.assignee_kind(name) for name in names}
