"""Registering plugins for activities, changing and deregistering them: one row, one line of history, one transaction.

It takes effect for every phase that begins after the commit; what a phase has frozen stays as it is.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from workflows.activities import plugin as documents
from workflows.activities.ordering import faults_of_order
from workflows.activities.plugin import InvalidPlugin as InvalidPlugin
from workflows.activities.plugin import problems_of
from workflows.definitions.problems import Problem
from workflows.definitions.schema import Json
from workflows.models import Activity, ActivityRecord, ActivityRecordKind, Plugin
from workflows.models.locking import writing
from workflows.runtime import addresses, listeners, moments
from workflows.runtime.listeners import Committed

MOST = 2_000
"""So many plugins may be registered for one activity."""


class Became(StrEnum):
    """What became of a registration."""

    REGISTERED = "registered"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Registration(NamedTuple):
    """A plugin as it is now, and what became of the wish."""

    plugin: Plugin
    became: Became


class AlreadyRegistered(Exception):
    """Another plugin of that name is registered. Replace it by its name, or choose another name."""


class NotRegistered(LookupError):
    """No plugin of that name is registered for the activity."""


class NotYours(Exception):
    """Somebody else has registered this plugin. They change it, or an operator does."""


class Moved(Exception):
    """Somebody else has changed the plugin since it was read. Read it again, then decide."""


def register(
    activity: str,
    said: Json,
    *,
    by: str,
    reason: str = "",
    replace: bool = True,
    only_own: bool = False,
    seen: int | None = None,
    at: dt.datetime | None = None,
) -> Registration:
    """This will register a plugin, or change the one of that name; the same content once more changes nothing.

    Without a `secret` the old one stays. Raises InvalidPlugin with every fault, AlreadyRegistered (without `replace`),
    NotYours (`only_own`: what others have registered is theirs), Moved (`seen`: the revision that the caller saw).
    """
    if problems := [*problems_of(said, activity=activity), *_faults_of_address(said)]:
        raise InvalidPlugin(problems)
    moment = at or moments.now()
    with writing():
        home = _locked(activity)
        known = Plugin.objects.filter(activity=home, name=said["name"]).first()
        now = known if known is not None and known.deregistered_at is None else None
        _may_change(now, by=by, only_own=only_own, seen=seen)
        others = list(Plugin.objects.registered().filter(activity=home).exclude(name=said["name"]))
        faults = list(faults_of_order(said, [one.said for one in others]))
        if now is None and len(others) >= MOST:
            faults.append(Problem("", "bad_value", f"At most {MOST:,} plugins are registered for one activity."))
        if faults:
            raise InvalidPlugin(faults)
        secret = said.get("secret")
        if secret is None or said.get("url") is None:
            secret = now.secret if now is not None and said.get("url") is not None else ""
        after = documents.filled(said, signed=bool(secret))
        if now is not None and now.said == after and now.secret == secret:
            return Registration(now, Became.UNCHANGED)
        if now is not None and not replace:
            raise AlreadyRegistered(f"A plugin {said['name']} is registered, and it is another one.")
        before = None if now is None else now.said
        row = known or Plugin(activity=home, name=said["name"])
        if now is None:
            row.registered_by, row.registered_at, row.deregistered_at = by, moment, None
        row.said, row.secret, row.changed_by, row.changed_at = after, secret, by, moment
        row.revision = home.revision + 1
        row.save()
        kind = ActivityRecordKind.REGISTERED if now is None else ActivityRecordKind.CHANGED
        _record(home, kind, row, before=before, after=after, by=by, reason=reason, at=moment)
    _tell(moment)
    return Registration(row, Became.REGISTERED if now is None else Became.CHANGED)


def deregister(
    activity: str,
    name: str,
    *,
    by: str,
    reason: str = "",
    only_own: bool = False,
    seen: int | None = None,
    at: dt.datetime | None = None,
) -> None:
    """This will deregister a plugin; who expects it already still waits for it.

    Raises NotRegistered, NotYours, Moved.
    """
    moment = at or moments.now()
    with writing():
        if not Activity.objects.filter(name=activity).exists():
            raise NotRegistered
        home = _locked(activity)
        row = Plugin.objects.registered().filter(activity=home, name=name).first()
        if row is None:
            raise NotRegistered
        _may_change(row, by=by, only_own=only_own, seen=seen)
        row.deregistered_at = row.changed_at = moment
        row.changed_by, row.revision = by, home.revision + 1
        row.save()
        gone = ActivityRecordKind.DEREGISTERED
        _record(home, gone, row, before=row.said, after=None, by=by, reason=reason, at=moment)
    _tell(moment)


def _tell(at: dt.datetime) -> None:
    # Seldom enough to have everybody look.
    listeners.tell(Committed(at=at, changes=(), everything=True))


def _locked(activity: str) -> Activity:
    Activity.objects.get_or_create(name=activity)
    return Activity.objects.select_for_update(no_key=True).get(name=activity)


def _may_change(now: Plugin | None, *, by: str, only_own: bool, seen: int | None) -> None:
    if now is not None and only_own and now.registered_by != by:
        raise NotYours(f"{now.registered_by} has registered {now.name}: they change it, or an operator does.")
    if seen is not None and (now is None or now.revision != seen):
        raise Moved


def _record(
    home: Activity,
    kind: ActivityRecordKind,
    row: Plugin,
    *,
    before: Mapping[str, Json] | None,
    after: Mapping[str, Json] | None,
    by: str,
    reason: str,
    at: dt.datetime,
) -> None:
    home.revision, home.stamp = row.revision, uuid.uuid4()
    home.save(update_fields=["revision", "stamp"])
    said: dict[str, Any] = {"before": before, "after": after, "reason": reason}
    ActivityRecord.objects.create(
        activity=home, revision=row.revision, kind=kind, plugin=row.name, at=at, actor=by, **said
    )


def _faults_of_address(said: Json) -> list[Problem]:
    url = said.get("url") if isinstance(said, dict) else None
    if not isinstance(url, str) or any(problem.pointer == "/url" for problem in problems_of(said)):
        return []
    fault = addresses.fault_of(documents.host_of(url))
    return [] if fault is None else [Problem("/url", "forbidden_address", fault)]
