"""Who is at the other end of a websocket, and whether they still are who they were."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from workflows.models import ApiToken, Person, person_of
from workflows.runtime import tokens

T = TypeVar("T")

# Threads of our own: those that Django's views and Channels share must not wait for us, nor we for them.
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="live")
_CHUNK = 500


async def in_thread(function: Callable[[], T]) -> T:
    """This will run a function that asks the database, away from the loop."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _with_fresh_connection, function)


def _with_fresh_connection(function: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return function()
    finally:
        close_old_connections()


@dataclass(frozen=True, slots=True)
class Who:
    """A signed-in client: the person, and what they have signed in with."""

    person: Person
    token_id: int | None = None
    session_key: str | None = None
    session_hash: str | None = None


def identify(scope: Mapping[str, Any]) -> Who | None:
    """This will tell who opens a websocket: by the bearer token if there is one, else by the session."""
    kind, _, text = _authorization(scope).partition(" ")
    if kind.lower() == "bearer":
        token = tokens.recognise(text.strip(), at=timezone.now())
        if token is None or (token.scopes and tokens.Scope.READ not in token.scopes):
            return None
        return Who(person=token.person, token_id=token.token_id)
    user, session = scope.get("user"), scope.get("session")
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    return Who(
        person=person_of(user),
        session_key=session.session_key if session is not None else None,
        session_hash=session.get(HASH_SESSION_KEY) if session is not None else None,
    )


def _authorization(scope: Mapping[str, Any]) -> str:
    for name, value in scope.get("headers", []):
        if name.lower() == b"authorization":
            return str(value.decode("latin1"))
    return ""


class Validity(Enum):
    """Whether a client still is who it was when it signed in."""

    SAME = "same"
    OTHER_RIGHTS = "other rights"
    SIGNED_OUT = "signed out"


def still_valid(clients: Iterable[Who]) -> Mapping[Who, Validity]:
    """This will tell of each client what it is now. Asks the database, a few times for all clients together."""
    asked = list(dict.fromkeys(clients))
    now: dict[Who, Validity] = {}
    for start in range(0, len(asked), _CHUNK):
        now |= _still_valid(asked[start : start + _CHUNK])
    return now


def _still_valid(clients: list[Who]) -> dict[Who, Validity]:
    at = timezone.now()
    asked = {who.person.user_id for who in clients if who.person.user_id is not None}
    found = get_user_model().objects.filter(pk__in=asked, is_active=True).only("pk", "password", "is_superuser")
    users = {user.pk: user for user in found}
    groups: dict[int, set[str]] = {pk: set() for pk in users}
    for pk, name in Group.objects.filter(user__in=list(users)).values_list("user__pk", "name"):
        groups[pk].add(name)
    tokens_alive = set(
        ApiToken.objects.filter(pk__in={who.token_id for who in clients if who.token_id})
        .filter(Q(expires_at=None) | Q(expires_at__gt=at))
        .values_list("pk", flat=True)
    )
    sessions_alive = set(
        Session.objects.filter(
            session_key__in={who.session_key for who in clients if who.session_key}, expire_date__gt=at
        ).values_list("session_key", flat=True)
    )

    def valid(who: Who) -> Validity:
        user = users.get(who.person.user_id or 0)
        if (
            user is None
            or (who.token_id is not None and who.token_id not in tokens_alive)
            or (who.session_key is not None and who.session_key not in sessions_alive)
            or (who.session_hash is not None and not _is_hash_of(user, who.session_hash))
        ):
            return Validity.SIGNED_OUT
        # Roles follow from the groups and from this one flag: see person_of, which would ask once for each user.
        same = groups[user.pk] == who.person.groups and user.is_superuser == who.person.is_admin
        return Validity.SAME if same else Validity.OTHER_RIGHTS

    return {who: valid(who) for who in clients}


def _is_hash_of(user: Any, session_hash: str) -> bool:
    # A changed password ends the sessions that were opened with the old one.
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(one, session_hash) for one in hashes)
