"""The description of the API: complete, true, and shown on a page that loads nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest

from tests.api.callers import HUMAN_TASK, SERVICE_TASK, Caller, message
from workflows.api.permissions import RULES
from workflows.api.shapes import SCHEMAS
from workflows.models import HumanTask


@pytest.fixture
def description(operator: Caller) -> dict[str, Any]:
    said = operator.get("schema/")
    assert said.status == 200
    return dict(said.json)


def test_every_call_is_described(description: dict[str, Any]):
    assert description["openapi"].startswith("3.1")
    described = {
        operation["operationId"] for methods in description["paths"].values() for operation in methods.values()
    }

    assert described == {f"{method.lower()}-{name}" for name, methods in RULES.items() for method in methods}


def test_every_refusal_is_described(description: dict[str, Any]):
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            statuses = set(operation["responses"])
            assert {"400", "401", "406", "500", "503"} <= statuses, path
            assert ("404" in statuses) >= ("{" in path), path
            assert method != "post" or {"403", "409", "413", "415", "422"} <= statuses, path
            assert method != "put" or {"403", "413", "415"} <= statuses, path
            assert method != "delete" or {"403"} <= statuses, path
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]


def test_every_reference_leads_somewhere(description: dict[str, Any]):
    names = set(re.findall(r"#/components/schemas/(\w+)", str(description)))

    assert names <= set(description["components"]["schemas"])


def schema_of(description: dict[str, Any], path: str, method: str, status: int) -> Any:
    content = description["paths"][path][method]["responses"][str(status)]["content"]
    (kind,) = content.values()
    return {"$defs": {}, "components": description["components"], **kind["schema"]}


def test_answers_are_as_described(
    description: dict[str, Any], start: Any, service: Caller, operator: Caller, assignee: Caller
):
    instance = start(SERVICE_TASK, HUMAN_TASK)
    task = HumanTask.objects.get(instance=instance["id"]).pk
    body = {"name": "nightly", "component_name": "C", "reference": "{moment}", "cron": "30 2 * * *"}
    added = operator.post("schedules/", body).json
    operator.put("queues/charge_queue/limits/", {"max_per_second": 0.5})
    wish = operator.post("engine/retry-failed/", {"reason": "r"})
    jsonschema.validate(wish.json, schema_of(description, "/api/v1/engine/retry-failed/", "post", 202))
    names = {"{instance_id}": instance["id"], "{human_task_id}": str(task), "{queue}": "charge_queue"}
    names["{schedule_id}"] = str(added["id"])
    names |= {"{activity_name}": "intake", "{plugin_name}": "scan"}
    made = operator.post("activities/intake/plugins/", {"name": "scan", "phase": "pre", "url": "https://a.example/"})
    jsonschema.validate(made.json, schema_of(description, "/api/v1/activities/{activity_name}/plugins/", "post", 201))
    service.post("events/", message(instance, "TaskFailed", error={"code": "x"}))
    service.post("events/", message(instance))
    paths = [
        "templates/", "instances/", "instances/{instance_id}/", "instances/{instance_id}/history/",
        "instances/{instance_id}/commands/", "human-tasks/", "human-tasks/{human_task_id}/", "quarantine/", "me/",
        "engine/", "engine/log/", "schedules/", "schedules/{schedule_id}/",
        "queues/", "queues/{queue}/", "queues/{queue}/limits/", "outbox/", "activities/", "activities/{activity_name}/",
        "activities/{activity_name}/history/", "activities/{activity_name}/expected/",
        "activities/{activity_name}/plugins/", "activities/{activity_name}/plugins/{plugin_name}/",
    ]  # fmt: skip

    for path in paths:
        where = path
        for name, value in names.items():
            where = where.replace(name, value)
        said = operator.get(where)
        jsonschema.validate(
            said.json, schema_of(description, f"/api/v1/{path}", "get", 200), jsonschema.Draft202012Validator
        )
    done = assignee.post(f"human-tasks/{task}/claim/")
    jsonschema.validate(done.json, schema_of(description, "/api/v1/human-tasks/{human_task_id}/claim/", "post", 200))
    refused = service.post(
        "events/batch/", {"events": [message(instance), {}, message(instance, "TaskFailed", attempt=7)]}
    )
    jsonschema.validate(refused.json, schema_of(description, "/api/v1/events/batch/", "post", 200))
    assert set(SCHEMAS) == set(description["components"]["schemas"])


def test_the_page_shows_every_call_and_nothing_inline(operator: Caller):
    assert operator.user is not None
    operator.client.force_login(operator.user)
    said = operator.get("docs/", Accept="text/html")

    assert said.status == 200
    assert said.kind.startswith("text/html")
    for name, methods in RULES.items():
        for method in methods:
            assert f'id="{method.lower()}-{name}"' in said.text
    assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|<style|https?://(?!testserver)", said.text)
    assert "script-src 'self'" in said.headers["content-security-policy"]


def test_strangers_are_sent_to_the_sign_in(anonymous: Caller):
    said = anonymous.get("docs/", Accept="text/html")

    assert said.status == 302
    assert said.headers["location"] == "/signin/?next=/api/v1/docs/"
    assert anonymous.get("schema/").status == 401


def test_in_a_demo_anybody_may_look(anonymous: Caller, settings: Any):
    settings.DEMO = True

    assert anonymous.get("schema/").status == 200
    assert anonymous.get("docs/", Accept="text/html").status == 200
    assert anonymous.get("me/").status == 401
