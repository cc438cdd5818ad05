"""Who asks: a user with groups and roles, as a plain value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """What a user may do; given by Django groups of these names, admin by `is_superuser`."""

    OPERATOR = "operator"
    AUDITOR = "auditor"
    API_CLIENT = "api_client"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in caller. Whoever has none of the roles is an assignee (contract 5.1)."""

    username: str
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    user_id: int | None = None

    @property
    def is_admin(self) -> bool:
        """This will tell whether they are operator and API client in one."""
        return Role.ADMIN in self.roles

    @property
    def is_operator(self) -> bool:
        """This will tell whether they may publish, start and act."""
        return self.is_admin or Role.OPERATOR in self.roles

    @property
    def is_auditor(self) -> bool:
        """This will tell whether they read everything and change nothing."""
        return Role.AUDITOR in self.roles

    @property
    def is_api_client(self) -> bool:
        """This will tell whether they may send events and lease work."""
        return self.is_admin or Role.API_CLIENT in self.roles

    @property
    def is_assignee(self) -> bool:
        """This will tell whether they have no role at all."""
        return not self.roles

    @property
    def reads_everything(self) -> bool:
        """This will tell whether they may see every instance."""
        return bool(self.roles)


def person_of(user: Any) -> Person:
    """This will read the groups of a Django user (one query) and give the person."""
    return make_person(
        username=user.get_username(),
        groups=user.groups.values_list("name", flat=True),
        is_superuser=user.is_superuser,
        user_id=user.pk,
    )


def make_person(*, username: str, groups: Iterable[str], is_superuser: bool, user_id: int | None) -> Person:
    """This will give the person with these groups, and the roles that follow from them."""
    named = frozenset(groups)
    roles = {role.value for role in (Role.OPERATOR, Role.AUDITOR, Role.API_CLIENT) if role.value in named}
    if is_superuser:
        roles.add(Role.ADMIN.value)
    return Person(username=username, groups=named, roles=frozenset(roles), user_id=user_id)
