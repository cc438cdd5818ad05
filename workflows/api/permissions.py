"""Who may do what: one table, route by method. What is not in it is denied.

A rule is judged in two steps. `sees`: whoever is not in it gets 403 for the whole route, before anything is looked up.
Then the object is looked up among what the caller may see (404). `may`: whoever is not in it gets 403 for what it sees.
Rules that need the object itself (four eyes, who holds a task) are the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rest_framework.permissions import BasePermission

from workflows.models import Person, Role
from workflows.runtime.tokens import Scope

ASSIGNEE = "assignee"
OPERATOR, AUDITOR, API_CLIENT = str(Role.OPERATOR), str(Role.AUDITOR), str(Role.API_CLIENT)

EVERYBODY = frozenset({ASSIGNEE, OPERATOR, AUDITOR, API_CLIENT})
READERS = frozenset({OPERATOR, AUDITOR, API_CLIENT})
OVERSEERS = frozenset({OPERATOR, AUDITOR})
STARTERS = frozenset({OPERATOR, API_CLIENT})
OPERATORS = frozenset({OPERATOR})
CLIENTS = frozenset({API_CLIENT})
DESK = frozenset({ASSIGNEE, OPERATOR})


@dataclass(frozen=True, slots=True)
class Rule:
    """Who sees a route, who may use it, and the scope that a limited token needs for it.

    `public`: in a demo anybody, signed in or not; elsewhere like any other route. `keyed`: anybody who knows the
    address, which holds a secret of its own.
    """

    may: frozenset[str]
    scope: Scope | None = Scope.READ
    sees: frozenset[str] = EVERYBODY
    public: bool = False
    keyed: bool = False


_READ_INSTANCE = {"GET": Rule(EVERYBODY)}
_OPERATE = {"POST": Rule(OPERATORS, Scope.OPERATE)}
_SERVE = {"POST": Rule(CLIENTS, Scope.EVENTS, sees=CLIENTS)}
_PUBLISH = Rule(OPERATORS, Scope.TEMPLATES, sees=OPERATORS)
_DECIDE = {"POST": Rule(DESK, Scope.HUMAN_TASKS, sees=EVERYBODY - CLIENTS)}
_REDIRECT = {"POST": Rule(OPERATORS, Scope.HUMAN_TASKS, sees=EVERYBODY - CLIENTS)}
_INBOX = {"GET": Rule(EVERYBODY - CLIENTS, sees=EVERYBODY - CLIENTS)}
_OVERSEE = {"GET": Rule(OVERSEERS, sees=OVERSEERS)}
_SEE_TO = {"POST": Rule(OPERATORS, Scope.OPERATE, sees=OVERSEERS)}
_PACE = Rule(OPERATORS, Scope.OPERATE, sees=OVERSEERS)
_CALL_BACK = {"POST": Rule(EVERYBODY, None, keyed=True)}
_READ = {"GET": Rule(READERS, sees=READERS)}
_OWN = {"POST": Rule(OPERATORS, Scope.OPERATE, sees=READERS)}
_PLUG_IN = Rule(STARTERS, Scope.PLUGINS, sees=READERS)
_DESCRIBE = {"GET": Rule(EVERYBODY, None, public=True)}

RULES: Mapping[str, Mapping[str, Rule]] = {
    "templates": {"GET": Rule(READERS, sees=READERS), "POST": _PUBLISH},
    "templates-validate": {"POST": _PUBLISH},
    "template": _READ,
    "instances": {"GET": Rule(EVERYBODY), "POST": Rule(STARTERS, Scope.START, sees=STARTERS)},
    "instance": _READ_INSTANCE,
    "instance-history": _READ_INSTANCE,
    "instance-commands": _READ_INSTANCE,
    "instance-suspend": _OPERATE,
    "instance-resume": _OPERATE,
    "instance-cancel": _OPERATE,
    "instance-rollback": _OPERATE,
    "task-retry": _OPERATE,
    "task-skip": _OPERATE,
    "task-complete": _OPERATE,
    "task-fail": _OPERATE,
    "task-replay": _OPERATE,
    "stage-replay": _OPERATE,
    "callback": _CALL_BACK,
    "callback-progress": _CALL_BACK,
    "events": _SERVE,
    "events-batch": _SERVE,
    "queues": _OVERSEE,
    "queue": _OVERSEE,
    "queue-limits": {**_OVERSEE, "PUT": _PACE, "DELETE": _PACE},
    "outbox": _OVERSEE,
    "queue-lease": _SERVE,
    "lease-extend": _SERVE,
    "human-tasks": _INBOX,
    "human-task": _INBOX,
    "human-task-claim": _DECIDE,
    "human-task-release": _DECIDE,
    "human-task-complete": _DECIDE,
    "human-task-comment": _DECIDE,
    "human-task-reassign": _REDIRECT,
    "products": _READ,
    "product": _READ,
    "subscriptions": _READ,
    "subscription": _READ,
    "subscription-versions": _READ,
    "subscription-diff": _READ,
    "subscription-history": _READ,
    "subscription-workflows": _READ,
    "subscription-unlock": _OWN,
    "subscription-note": _OWN,
    "activities": _READ,
    "activity": _READ,
    "activity-history": _READ,
    "activity-expected": _READ,
    "activity-plugins": {**_READ, "POST": _PLUG_IN},
    "activity-plugin": {**_READ, "PUT": _PLUG_IN, "DELETE": _PLUG_IN},
    "quarantine": _OVERSEE,
    "quarantine-resubmit": _SEE_TO,
    "quarantine-discard": _SEE_TO,
    "quarantined": _OVERSEE,
    "quarantined-resubmit": _SEE_TO,
    "quarantined-discard": _SEE_TO,
    "engine": {"GET": Rule(EVERYBODY)},
    "engine-pause": _SEE_TO,
    "engine-resume": _SEE_TO,
    "engine-retry-failed": _SEE_TO,
    "engine-log": _OVERSEE,
    "schedules": {**_OVERSEE, **_SEE_TO},
    "schedule": {**_OVERSEE, **_SEE_TO},
    "schedule-enable": _SEE_TO,
    "schedule-disable": _SEE_TO,
    "me": {"GET": Rule(EVERYBODY, None)},
    "schema": _DESCRIBE,
    "docs": _DESCRIBE,
    # Whatever is below /api/ and not ours: 401 for strangers, 404 for the others.
    "nothing": {},
}


def roles_of(person: Person) -> frozenset[str]:
    """This will give the roles of the table: an admin is operator and API client, whoever has none an assignee."""
    if person.is_assignee:
        return frozenset({ASSIGNEE})
    roles = set()
    if person.is_operator:
        roles.add(OPERATOR)
    if person.is_auditor:
        roles.add(AUDITOR)
    if person.is_api_client:
        roles.add(API_CLIENT)
    return frozenset(roles)


class DenyAll(BasePermission):
    """The default of the framework: a view that does not say otherwise lets nobody in."""

    def has_permission(self, request: object, view: object) -> bool:
        """This will say no."""
        return False
