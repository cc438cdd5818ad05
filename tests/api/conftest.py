"""Callers of every role, and workflows for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from tests.api.callers import GROUPS, ROLES, SERVICE_TASK, Caller
from tests.pauses import pause_is_asked_once as pause_is_asked_once
from workflows.models import ApiToken
from workflows.runtime import tokens


@pytest.fixture
def make_caller(db: None) -> Callable[..., Caller]:
    def make(name: str, *groups: str, superuser: bool = False, scopes: tuple[str, ...] = ()) -> Caller:
        user, new = User.objects.get_or_create(username=name, defaults={"is_superuser": superuser})
        if new:
            for group in groups:
                user.groups.add(Group.objects.get_or_create(name=group)[0])
        token = tokens.issue(user, at=timezone.now(), scopes=[tokens.Scope(scope) for scope in scopes])
        ApiToken.objects.update(last_used_at=timezone.now())
        return Caller(token, user)

    return make


@pytest.fixture
def callers(make_caller: Callable[..., Caller]) -> dict[str, Caller]:
    found = {
        role: make_caller(role, *[g for g in [GROUPS.get(role)] if g], superuser=role == "admin") for role in ROLES
    }
    return found | {"anonymous": Caller(None)}


@pytest.fixture
def service(callers: dict[str, Caller]) -> Caller:
    return callers["api_client"]


@pytest.fixture
def operator(callers: dict[str, Caller]) -> Caller:
    return callers["operator"]


@pytest.fixture
def assignee(callers: dict[str, Caller]) -> Caller:
    return callers["assignee"]


@pytest.fixture
def auditor(callers: dict[str, Caller]) -> Caller:
    return callers["auditor"]


@pytest.fixture
def anonymous(callers: dict[str, Caller]) -> Caller:
    return callers["anonymous"]


@pytest.fixture
def publish(operator: Caller) -> Callable[..., dict[str, Any]]:
    """Publish a workflow of one stage with the given tasks; the answer names its component."""

    def make(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
        template = {
            "workflow_name": "Loan",
            "component_name": f"C-{uuid.uuid4().hex[:8]}",
            "stages": [{"stage_name": "S", "stage_order": 1, "tasks": list(tasks or (SERVICE_TASK,))}],
            **more,
        }
        said = operator.post("templates/", template)
        assert said.status in (200, 201), said
        return dict(said.json)

    return make


@pytest.fixture
def start(service: Caller, publish: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Start an instance of a workflow with the given tasks, and give it as the API shows it."""

    def make(*tasks: dict[str, Any], ref: str | None = None, context: Any = None, **more: Any) -> dict[str, Any]:
        template = publish(*tasks, **more)
        body = {"component_name": template["component_name"], "business_ref_no": ref or f"REF-{uuid.uuid4().hex[:8]}"}
        said = service.post("instances/", body | ({"context": context} if context else {}))
        assert said.status == 201, said
        return dict(said.json)

    return make
