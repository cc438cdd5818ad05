"""How the tests of the API call it, and what they publish."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

ROLES = ("api_client", "operator", "auditor", "assignee", "other", "admin")
"""`assignee` has the tasks of the tests in her inbox (group `finance`), `other` is an assignee of something else."""
GROUPS = {
    "api_client": "api_client",
    "operator": "operator",
    "auditor": "auditor",
    "assignee": "finance",
    "other": "sales",
}


class Said:
    """What came back: status, headers, the JSON."""

    def __init__(self, response: Any) -> None:
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.text = response.content.decode() if not response.streaming else ""
        self.kind = self.headers.get("content-type", "")

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The code of the problem; everything that a problem must have is there."""
        assert self.kind == "application/problem+json", (self.status, self.text[:300])
        problem = self.json
        assert {"type", "title", "status", "detail", "code", "request_id"} <= set(problem)
        assert problem["status"] == self.status
        return str(problem["code"])

    @property
    def pointers(self) -> dict[str, str]:
        return {error["pointer"]: error["code"] for error in self.json["errors"]}

    def __repr__(self) -> str:
        return f"<{self.status} {self.text[:500]}>"


class Caller:
    """Somebody with a token; `api.get("instances/")`."""

    def __init__(self, token: str | None, user: User | None = None) -> None:
        self.client = Client(raise_request_exception=False)
        self.user = user
        self.token = token

    def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Said:
        url = path if path.startswith(("/", "http")) else f"/api/v1/{path}"
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        kind = headers.pop("Content_Type", "application/json")
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return Said(self.client.generic(method, url, data, content_type=kind if data else "", headers=sent))

    def get(self, path: str, **headers: str) -> Said:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **options: Any) -> Said:
        return self.call("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Said:
        return self.call("PUT", path, body, **options)

    def delete(self, path: str, **options: Any) -> Said:
        return self.call("DELETE", path, **options)


SERVICE_TASK = {"task_name": "charge", "task_type": "SERVICE", "task_queue": "charge_queue"}
HUMAN_TASK = {
    "task_name": "approve",
    "task_type": "HUMAN",
    "assigned_to": "finance",
    "title": "Approve the loan",
    "form": {
        "type": "object",
        "properties": {"amount": {"type": "number", "minimum": 1}, "note": {"type": "string"}},
        "required": ["amount"],
    },
    "outcomes": [
        {"name": "approve", "label": "Approve"},
        {"name": "refuse", "label": "Refuse", "effect": "fail"},
    ],
}


def message(instance: dict[str, Any], event_name: str = "TaskCompleted", **more: Any) -> dict[str, Any]:
    """A message about the one service task of an instance."""
    return {
        "business_ref_no": instance["business_ref_no"],
        "component_name": instance["component_name"],
        "event_name": event_name,
        "stage_name": "S",
        "task_name": "charge",
        **more,
    }
