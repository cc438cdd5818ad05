"""Who may do what: every route has a rule, and every rule holds for every role and object."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from tests.api.callers import HUMAN_TASK, ROLES, SERVICE_TASK, Caller
from workflows.api.base import ApiView
from workflows.api.permissions import RULES
from workflows.models import HumanTask, QuarantinedMessage, QueueLimit, Schedule, Subscription, SubscriptionVersion
from workflows.runtime import schedules
from workflows.runtime.registering import register
from workflows.subscriptions import define_product

OUTSIDE = {
    "healthz": "anybody: it says that the process lives",
    "readyz": "anybody: it says whether the process can work",
    "metrics": "operators and auditors; anybody in a demo",
}
"""Routes of this part that are no views of the API, with who may use them."""

# What a caller of each role gets, written down from the contract (5.1) and not from the code. "own" is an object that
# belongs to the assignee's work, "other" one that doesn't, "missing" none at all. 2 stands for any 2xx, 4 for what the
# body or the state refuses: the caller was let through.
READ_ALL = {"api_client": 2, "operator": 2, "auditor": 2, "admin": 2}
OWN = {**READ_ALL, "assignee": 2, "other": 404}
OTHERS = {**READ_ALL, "assignee": 404, "other": 404}
MISSING = dict.fromkeys(ROLES, 404)
OPERATE_OWN = {"api_client": 403, "operator": 4, "auditor": 403, "admin": 4, "assignee": 403, "other": 404}
OPERATE_OTHERS = {**OPERATE_OWN, "assignee": 404}
CLIENTS_ONLY = {"api_client": 4, "operator": 403, "auditor": 403, "admin": 4, "assignee": 403, "other": 403}
OPERATORS_ONLY = {"api_client": 403, "operator": 4, "auditor": 403, "admin": 4, "assignee": 403, "other": 403}
READERS = {**READ_ALL, "assignee": 403, "other": 403}
READERS_MISSING = {**dict.fromkeys(ROLES, 404), "assignee": 403, "other": 403}
PLUG_IN = {"api_client": 4, "operator": 4, "auditor": 403, "admin": 4, "assignee": 403, "other": 403}
DESK_READ = {"api_client": 403, "operator": 2, "auditor": 2, "admin": 2, "assignee": 2, "other": 404}
DESK_OTHERS = {**DESK_READ, "assignee": 404}
DESK_MISSING = {**dict.fromkeys(ROLES, 404), "api_client": 403}
DECIDE_OTHERS = {"api_client": 403, "operator": 4, "auditor": 403, "admin": 4, "assignee": 404, "other": 404}
OVERSEE = {"api_client": 403, "operator": 2, "auditor": 2, "admin": 2, "assignee": 403, "other": 403}
OVERSEE_MISSING = {"api_client": 403, "operator": 404, "auditor": 404, "admin": 404, "assignee": 403, "other": 403}

EXPECTED: dict[tuple[str, str], dict[str, dict[str, int]]] = {
    ("GET", "templates/"): {"": READERS},
    ("POST", "templates/"): {"": OPERATORS_ONLY},
    ("POST", "templates/validate/"): {"": OPERATORS_ONLY},
    ("GET", "templates/{template}/"): {"own": READERS, "missing": {**dict.fromkeys(ROLES, 404), "assignee": 403, "other": 403}},
    ("GET", "instances/"): {"": dict.fromkeys(ROLES, 2)},
    ("POST", "instances/"): {"": {"api_client": 4, "operator": 4, "auditor": 403, "admin": 4, "assignee": 403, "other": 403}},
    **{
        ("GET", f"instances/{{instance}}/{rest}"): {"own": OWN, "other": OTHERS, "missing": MISSING}
        for rest in ("", "history/", "commands/")
    },
    **{
        ("POST", f"instances/{{instance}}/{rest}/"): {"own": OPERATE_OWN, "other": OPERATE_OTHERS, "missing": MISSING}
        for rest in (
            "suspend", "resume", "cancel", "rollback", "tasks/S/charge/retry", "tasks/S/charge/skip",
            "tasks/S/charge/complete", "tasks/S/charge/fail", "tasks/S/charge/replay", "stages/S/replay",
        )
    },
    **{
        ("POST", path): {"": CLIENTS_ONLY}
        for path in ("events/", "events/batch/", "queues/q/lease/", "queues/q/leases/{missing}/extend/")
    },
    ("GET", "human-tasks/"): {"": {**dict.fromkeys(ROLES, 2), "api_client": 403}},
    ("GET", "human-tasks/{human_task}/"): {"own": DESK_READ, "other": DESK_OTHERS, "missing": DESK_MISSING},
    **{
        ("POST", f"human-tasks/{{human_task}}/{rest}/"): {
            "own": {**DECIDE_OTHERS, "assignee": 4},
            "other": DECIDE_OTHERS,
            "missing": DESK_MISSING,
        }
        for rest in ("claim", "release", "complete", "comment")
    },
    ("POST", "human-tasks/{human_task}/reassign/"): {
        "own": {**DECIDE_OTHERS, "assignee": 403},
        "other": DECIDE_OTHERS,
        "missing": DESK_MISSING,
    },
    ("GET", "queues/"): {"": OVERSEE},
    ("GET", "queues/{queue}/"): {"own": OVERSEE, "missing": OVERSEE_MISSING},
    ("GET", "queues/{limited}/limits/"): {"own": OVERSEE, "missing": OVERSEE_MISSING},
    ("PUT", "queues/{limited}/limits/"): {"own": OPERATORS_ONLY, "missing": OPERATORS_ONLY},
    ("DELETE", "queues/{limited}/limits/"): {
        # The operator comes before the admin, and leaves nothing.
        "own": {**OVERSEE_MISSING, "operator": 2, "auditor": 403},
        "missing": {**OVERSEE_MISSING, "auditor": 403},
    },
    ("GET", "outbox/"): {"": OVERSEE},
    ("GET", "products/"): {"": READERS},
    ("GET", "products/{product}/"): {"own": READERS, "missing": READERS_MISSING},
    ("GET", "subscriptions/"): {"": READERS},
    **{
        ("GET", f"subscriptions/{{subscription}}/{rest}"): {"own": READERS, "missing": READERS_MISSING}
        for rest in ("", "versions/", "diff/", "history/", "workflows/")
    },
    **{
        ("POST", f"subscriptions/{{subscription}}/{rest}/"): {"own": OPERATORS_ONLY, "missing": READERS_MISSING}
        for rest in ("unlock", "note")
    },
    ("GET", "activities/"): {"": READERS},
    **{
        ("GET", f"activities/{{activity}}/{rest}"): {"own": READERS, "missing": READERS_MISSING}
        for rest in ("", "history/", "expected/", "plugins/", "plugins/{plugin}/")
    },
    ("POST", "activities/{activity}/plugins/"): {"own": PLUG_IN, "missing": PLUG_IN},
    ("PUT", "activities/{activity}/plugins/{plugin}/"): {"own": PLUG_IN, "missing": PLUG_IN},
    ("DELETE", "activities/{activity}/plugins/{plugin}/"): {
        # The operator comes before the auditor and the admin, and leaves them nothing.
        "own": {**READERS_MISSING, "api_client": 403, "operator": 2},
        "missing": READERS_MISSING,
    },
    ("GET", "quarantine/"): {"": OVERSEE},
    **{
        ("POST", f"quarantine/{rest}/"): {"": {**OVERSEE_MISSING, "operator": 4, "auditor": 403, "admin": 4}}
        for rest in ("resubmit", "discard")
    },
    ("GET", "quarantine/{message}/"): {"own": OVERSEE, "missing": OVERSEE_MISSING},
    **{
        ("POST", f"quarantine/{{message}}/{rest}/"): {
            "own": {**OVERSEE_MISSING, "operator": 4, "auditor": 403, "admin": 4},
            "missing": OVERSEE_MISSING,
        }
        for rest in ("resubmit", "discard")
    },
    **{("POST", f"callbacks/{{missing}}/{rest}"): {"": dict.fromkeys(ROLES, 404)} for rest in ("", "progress/")},
    ("GET", "engine/"): {"": dict.fromkeys(ROLES, 2)},
    ("GET", "engine/log/"): {"": OVERSEE},
    ("GET", "schedules/"): {"": OVERSEE},
    ("GET", "schedules/{schedule}/"): {"own": OVERSEE, "missing": OVERSEE_MISSING},
    **{
        ("POST", path): {"": {**OVERSEE_MISSING, "operator": 4, "auditor": 403, "admin": 4}}
        for path in ("engine/pause/", "engine/resume/", "engine/retry-failed/", "schedules/")
    },
    **{
        ("POST", f"schedules/{{schedule}}/{rest}"): {
            "own": {**OVERSEE_MISSING, "operator": 4, "auditor": 403, "admin": 4},
            "missing": OVERSEE_MISSING,
        }
        for rest in ("", "enable/", "disable/")
    },
    ("GET", "me/"): {"": dict.fromkeys(ROLES, 2)},
    ("GET", "schema/"): {"": dict.fromkeys(ROLES, 2)},
    ("GET", "docs/"): {"": dict.fromkeys(ROLES, 2)},
}  # fmt: skip


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        where = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, where)
        else:
            yield where, entry


def ours() -> list[tuple[str, URLPattern]]:
    return [
        (where, entry)
        for where, entry in routes(get_resolver())
        if where.startswith("api/")
        or (not where.startswith("admin/") and getattr(entry.callback, "__module__", "").startswith("workflows."))
    ]


def test_every_route_has_an_explicit_rule():
    assert ours()
    for where, entry in ours():
        view = getattr(entry.callback, "cls", None)
        if view is None:
            assert entry.name in OUTSIDE, f"{where} has no rule: say in OUTSIDE who may use it"
            continue
        assert issubclass(view, ApiView), where
        assert entry.name in RULES, f"{where} has no rule in workflows/api/permissions.py"
        assert set(RULES[entry.name]) == set(view.calls), where
        assert set(view.calls) <= {"GET", "POST", "PUT", "DELETE"}, where


def test_no_rule_is_left_over():
    named = {entry.name for _where, entry in ours()}

    assert set(RULES) <= named


def test_the_table_of_this_test_knows_every_route():
    known = {(method, re.sub(r"{\w+}", "<>", path)) for method, path in EXPECTED}

    there = set()
    for where, entry in ours():
        path = re.sub(r"<[^>]+>", "<>", where.removeprefix("api/v1/"))
        path = (
            path.replace("tasks/<>/<>", "tasks/S/charge")
            .replace("stages/<>", "stages/S")
            .replace("queues/<>/lease", "queues/q/lease")
        )
        there |= {(method, path) for method in RULES.get(str(entry.name), {})}

    assert there == known


def somebodys(instance: str) -> Subscription:
    """Make a subscription that is in sync."""
    product = define_product("node", values_schema={})
    now = timezone.now()
    row = Subscription.objects.create(product=product, customer="ACME", values={}, created_at=now, updated_at=now)
    SubscriptionVersion.objects.create(
        subscription=row, version=1, values={}, status="initial", instance_id=instance, stage_name="S",
        task_name="make", attempt=1, created_at=now,
    )  # fmt: skip
    return row


@pytest.fixture
def things(start: Callable[..., dict[str, Any]]) -> dict[str, dict[str, str]]:
    own = start(SERVICE_TASK, HUMAN_TASK)
    other = start(SERVICE_TASK, {**HUMAN_TASK, "assigned_to": "managers"})
    from workflows.models import WorkflowInstance

    quarantined = QuarantinedMessage.objects.create(
        received_at="2026-01-01T00:00:00Z", source="test", body="{", body_bytes=1, code="invalid_json", reason="broken"
    )

    scheduled = schedules.keep(
        Schedule(name="nightly", component_name="C", reference="{moment}", cron="30 2 * * *", context={}), by="test"
    )
    subscription = somebodys(own["id"])
    register("intake", {"name": "scan", "phase": "pre", "task_queue": "q"}, by="somebody")
    now = timezone.now()
    QueueLimit.objects.create(queue="limited_queue", max_in_flight=1, let_out_to=now, changed_by="test", changed_at=now)

    def named(instance: dict[str, Any]) -> dict[str, str]:
        return {
            "template": str(WorkflowInstance.objects.get(pk=instance["id"]).template_id),
            "instance": instance["id"],
            "human_task": str(HumanTask.objects.get(instance=instance["id"]).pk),
            "message": str(quarantined.pk),
            "product": str(subscription.product_id),
            "subscription": str(subscription.pk),
            "queue": "charge_queue",
            "limited": "limited_queue",
            "schedule": str(scheduled.pk),
            "activity": "intake",
            "plugin": "scan",
        }

    missing = str(uuid.uuid4())
    nothing = {
        "template": missing,
        "instance": missing,
        "human_task": missing,
        "message": "987654321",
        "product": missing,
        "subscription": missing,
        "queue": "no/queue",
        "limited": "no/queue",
        "schedule": "987654321",
        "activity": "nothing",
        "plugin": "nobody",
    }
    return {"own": named(own), "other": named(other), "missing": nothing, "": nothing}


@pytest.mark.parametrize(("method", "path"), list(EXPECTED), ids=[f"{m} {p}" for m, p in EXPECTED])
def test_every_role_gets_what_the_contract_says(
    method: str, path: str, callers: dict[str, Caller], things: dict[str, dict[str, str]]
):
    wrong = []
    for which, expected in EXPECTED[method, path].items():
        where = path.format(**things[which], missing=uuid.uuid4())
        for role in ROLES:
            # A body that nothing takes: whoever is let through is told so, and nothing is changed.
            said = callers[role].call(method, where, [] if method in ("POST", "PUT") else None)
            wanted = expected[role]
            good = {2: 200 <= said.status < 300, 4: said.status in (400, 409, 404)}.get(wanted, said.status == wanted)
            if wanted == 4 and said.status == 404:
                good = said.code not in ("not_found",) or "{missing}" in path
            if not good:
                wrong.append(f"{role} on {which or 'it'}: {said.status}, not {wanted}: {said.text[:200]}")
        said = callers["anonymous"].call(method, where, [] if method in ("POST", "PUT") else None)
        if path == "docs/":
            assert said.status == 302
        elif path.startswith("callbacks/"):
            assert said.status == 404  # the address itself holds what lets one in
        elif said.status != 401 or "www-authenticate" not in said.headers:
            wrong.append(f"anonymous on {which or 'it'}: {said.status}")

    assert not wrong, "\n".join(wrong)


def test_what_one_may_not_see_looks_like_what_is_missing(callers: dict[str, Caller], things: dict[str, dict[str, str]]):
    hidden = callers["assignee"].get(f"instances/{things['other']['instance']}/").json
    missing = callers["assignee"].get(f"instances/{things['missing']['instance']}/").json

    assert {**hidden, "request_id": ""} == {**missing, "request_id": ""}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_not_taken(method: str, callers: dict[str, Caller], things: dict[str, dict[str, str]]):
    for path in {path for _method, path in EXPECTED if (method, path) not in EXPECTED}:
        said = callers["admin"].call(method, path.format(**things["own"], missing=uuid.uuid4()))

        assert said.status == 405, (path, said)
        assert said.code == "method_not_allowed"
        assert said.headers["allow"]


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("read", {"GET instances/", "GET templates/", "GET quarantine/", "GET human-tasks/"}),
        ("start", {"POST instances/"}),
        ("events", {"POST events/", "POST queues/q/lease/"}),
        ("templates", {"POST templates/", "POST templates/validate/"}),
        ("human-tasks", {"POST human-tasks/{human_task}/claim/"}),
        ("operate", {"POST instances/{instance}/cancel/"}),
        ("plugins", {"PUT activities/{activity}/plugins/{plugin}/", "DELETE activities/{activity}/plugins/{plugin}/"}),
    ],
)
def test_a_token_does_what_its_scopes_say(
    scope: str, allowed: set[str], make_caller: Any, things: dict[str, dict[str, str]]
):
    caller = make_caller("admin", superuser=True, scopes=(scope,))
    calls = {
        "GET instances/", "GET templates/", "GET quarantine/", "GET human-tasks/", "POST instances/", "POST events/",
        "POST queues/q/lease/", "POST templates/", "POST templates/validate/", "POST human-tasks/{human_task}/claim/",
        "POST instances/{instance}/cancel/", "PUT activities/{activity}/plugins/{plugin}/",
        "DELETE activities/{activity}/plugins/{plugin}/",
    }  # fmt: skip

    for call in calls:
        method, path = call.split()
        said = caller.call(method, path.format(**things["own"]), [] if method in ("POST", "PUT") else None)
        limited = said.status == 403 and "This token is limited to" in said.json["detail"]
        assert limited == (call not in allowed), (call, said)
    assert caller.get("me/").json["scopes"] == [scope]


def test_rights_that_are_taken_away_are_gone_at_once(operator: Caller):
    assert operator.get("templates/").status == 200

    assert operator.user is not None
    operator.user.groups.clear()

    assert operator.get("templates/").status == 403


def test_a_head_is_a_get_without_its_body(operator: Caller, start: Any):
    path = f"instances/{start()['id']}/"

    said = operator.call("HEAD", path)

    assert (said.status, said.text) == (200, "")
    assert said.headers["etag"] == operator.get(path).headers["etag"]
