"""Bearer tokens: made once, recognised by their digest."""

from __future__ import annotations

import datetime as dt
import functools
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import OperationalError, connection

from workflows.models import ApiToken, Person
from workflows.models.locking import writing
from workflows.models.people import make_person

_SEEN_EVERY = dt.timedelta(minutes=1)
_PREFIX = 12


class Scope(StrEnum):
    """What a token may be limited to. A token without scopes may do all that its user may do."""

    READ = "read"
    START = "start"
    EVENTS = "events"
    TEMPLATES = "templates"
    HUMAN_TASKS = "human-tasks"
    OPERATE = "operate"
    PLUGINS = "plugins"


def issue(
    user: Any,
    *,
    at: dt.datetime,
    scopes: Iterable[Scope] = (),
    name: str = "",
    expires_at: dt.datetime | None = None,
    token: str | None = None,
) -> str:
    """This will store a new token of the user and give its text, which is stored nowhere. `token` chooses the text."""
    text = token or f"orch_{secrets.token_urlsafe(32)}"
    ApiToken.objects.create(
        user=user,
        digest=ApiToken.digest_of(text),
        prefix=text[:_PREFIX],
        name=name,
        scopes=[str(scope) for scope in scopes],
        created_at=at,
        expires_at=expires_at,
    )
    return text


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has come with a token, as it is at this moment. Django's request takes it for the user."""

    pk: int
    token_id: int
    scopes: tuple[str, ...]
    person: Person

    is_authenticated = True
    is_active = True
    is_anonymous = False

    def get_username(self) -> str:
        """This will give the user's name."""
        return self.person.username


def recognise(text: str, *, at: dt.datetime) -> Caller | None:
    """This will find whose token it is, unless it has expired or the user is not active any more.

    One plain query: it is asked with every request, so that a right that is taken away is gone at once.
    """
    moment, long_ago = (connection.ops.adapt_datetimefield_value(when) for when in (at, at - _SEEN_EVERY))
    with connection.cursor() as cursor:
        cursor.execute(_query(), [long_ago, ApiToken.digest_of(text), True, moment])
        rows = cursor.fetchall()
    if not rows:
        return None
    token_id, scopes, unseen, user_id, username, is_superuser = rows[0][:6]
    if unseen:
        _note_use(token_id, at=at)
    groups = (row[6] for row in rows if row[6] is not None)
    person = make_person(username=username, groups=groups, is_superuser=bool(is_superuser), user_id=user_id)
    return Caller(pk=user_id, token_id=token_id, scopes=tuple(json.loads(scopes or "[]")), person=person)


@functools.cache
def _query() -> str:
    user, token = get_user_model()._meta, ApiToken._meta
    member = get_user_model().groups.through._meta
    # Only names of our own tables are put in.
    return (
        "SELECT t.id, t.scopes, CASE WHEN t.last_used_at > %s THEN 0 ELSE 1 END,"  # noqa: S608
        " u.id, u.username, u.is_superuser, g.name"
        f" FROM {token.db_table} t JOIN {user.db_table} u ON u.id = t.user_id"
        f" LEFT JOIN {member.db_table} m ON m.user_id = u.id LEFT JOIN {Group._meta.db_table} g ON g.id = m.group_id"
        " WHERE t.digest = %s AND u.is_active = %s AND (t.expires_at IS NULL OR t.expires_at > %s)"
    )


def _note_use(token_id: int, *, at: dt.datetime) -> None:
    try:
        with writing():
            ApiToken.objects.filter(pk=token_id).update(last_used_at=at)
    except OperationalError:
        return  # A busy database; the next request notes it.
