"""The description of the API (OpenAPI 3.1), made from the declared calls and the table of permissions."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from django.urls import URLPattern, get_resolver
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from workflows.api import problems
from workflows.api.base import ApiView
from workflows.api.calls import Call, Document
from workflows.api.permissions import EVERYBODY, RULES, Rule
from workflows.api.shapes import SCHEMAS, ref

# Statuses that follow from the kind of a call, and what they mean there.
_MEANINGS: Mapping[int, str] = {
    304: "You have this version already (If-None-Match).",
    400: "A parameter, a header or the body has faults.",
    401: "No credentials, or no good ones.",
    403: "You may not do this.",
    404: "There is nothing here, or nothing that you may see.",
    406: "You ask for something else than JSON.",
    409: "The state refuses it, or the first request with this Idempotency-Key is under way.",
    412: "It has changed since you read it (If-Match).",
    413: "The body is too large.",
    415: "The body is no JSON.",
    422: "The Idempotency-Key was used for another request.",
    500: "Our fault; the log has it under the request id.",
    503: "The database does not answer at the moment, or the engine is paused.",
}
_DONE = {200: "Done.", 201: "Made.", 202: "Begun.", 204: "Gone."}
_KEY: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"}
_PATHS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "instance_id": ("The instance's id.", {"type": "string", "format": "uuid"}),
    "template_id": ("The template version's id.", {"type": "string", "format": "uuid"}),
    "human_task_id": ("The task's id; it stands for one attempt.", {"type": "string", "format": "uuid"}),
    "schedule_id": ("The schedule's id.", {"type": "integer", "minimum": 1}),
    "product_id": ("The product's id.", {"type": "string", "format": "uuid"}),
    "activity_name": ("The activity, by its name.", {"type": "string", "minLength": 1, "maxLength": 200}),
    "plugin_name": ("The plugin, by its name.", {"type": "string", "minLength": 1, "maxLength": 200}),
    "subscription_id": ("The subscription's id.", {"type": "string", "format": "uuid"}),
    "message_id": ("The quarantined message's id.", {"type": "integer", "minimum": 1}),
    "stage_name": ("The stage.", {"type": "string", "minLength": 1}),
    "task_name": ("The task.", {"type": "string", "minLength": 1}),
    "queue": ("The queue, by its name.", {"type": "string", "minLength": 1}),
    "token": ("The secret that stands for one attempt.", {"type": "string", "minLength": 1}),
    "lease_id": ("The lease.", {"type": "string", "format": "uuid"}),
}
_TAGS = (
    ("templates", "Templates", "What runs: published versions of workflows."),
    ("instances", "Instances", "What is running, and what operators do to it."),
    ("events", "Messages", "What services report."),
    ("callbacks", "Callbacks", "What steps have asked others to call."),
    ("queues", "Queues", "How they stand; work for services without a broker."),
    ("outbox", "Queues", ""),
    ("human-tasks", "People's tasks", "The inbox."),
    ("products", "Subscriptions", "What customers own, and which workflows may change it."),
    ("subscriptions", "Subscriptions", ""),
    ("activities", "Activities", "Who hooks work into workflows, and since when."),
    ("quarantine", "Quarantine", "Messages that could not be read or matched."),
    ("engine", "Engine", "Pausing, resuming, retrying all that failed."),
    ("schedules", "Schedules", "What is started by itself, and when."),
    ("", "About", "Who you are; this description."),
)
TAGS = [{"name": name, "description": about} for _path, name, about in _TAGS if about]


class CallSchema(AutoSchema):
    """The description of one route: nothing is guessed from code, everything is declared."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any
    ) -> dict[str, Any] | None:
        """This will describe one method of the route."""
        if not isinstance(self.view, ApiView) or method not in self.view.calls:
            return None
        name = _route_of(self.view)
        rule, call = RULES[name][method], self.view.calls[method]
        said: dict[str, Any] = {
            "operationId": f"{method.lower()}-{name}",
            "tags": [next(tag for start, tag, _about in _TAGS if path.split("/api/v1/")[-1].startswith(start))],
            "summary": call.summary,
            "description": " ".join(filter(None, [call.about, _who(rule)])),
        }
        if parameters := [*_path_parameters(path), *_query(call), *_headers(call, method)]:
            said["parameters"] = parameters
        if call.body is not None:
            said["requestBody"] = _request_body(call)
        said["responses"] = _responses(call, method, rule)
        if rule.public:
            said["security"] = [{}, {"bearer": []}, {"session": []}]
        if rule.keyed:
            said["security"] = [{}]
        return said


@functools.cache
def describe() -> dict[str, Any]:
    """This will describe the whole API, once for each process."""
    said: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    components = said.setdefault("components", {})
    components["schemas"] = dict(SCHEMAS)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token made by `create_api_token`."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "orchestrator_session",
            "description": "A page's session.",
        },
    }
    said["security"] = [{"bearer": []}, {"session": []}]
    said["tags"] = TAGS
    return said


def _route_of(view: ApiView) -> str:
    _prefix, routes = get_resolver().namespace_dict["api"]
    for pattern in routes.url_patterns:
        if isinstance(pattern, URLPattern) and getattr(pattern.callback, "cls", None) is type(view):
            return str(pattern.name)
    raise LookupError(f"{type(view).__name__} has no route")


def _who(rule: Rule) -> str:
    if rule.keyed:
        return ""
    if rule.may == EVERYBODY:
        who = "For everybody who has signed in; each sees what is theirs to see."
    else:
        who = f"For: {', '.join(sorted(role.replace('_', ' ') for role in rule.may))}."
    return who if rule.scope is None else f"{who} Scope: `{rule.scope}`."


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "description": about, "schema": dict(schema)}
        for name in re.findall(r"{(\w+)}", path)
        for about, schema in [_PATHS[name]]
    ]


def _query(call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "in": "query",
            "description": parameter.about,
            "schema": dict(parameter.schema),
            **({"style": "form", "explode": True} if parameter.member is not None else {}),
            **({} if parameter.explode else {"style": "form", "explode": False}),
        }
        for parameter in call.query
    ]


def _headers(call: Call, method: str) -> list[dict[str, Any]]:
    said = []
    if method == "POST":
        about = "The same key, path and body within 24 hours: the same answer, and nothing is done again."
        said.append(_header("Idempotency-Key", about, _KEY))
    if call.versioned:
        said.append(_header("If-Match", "Only if this is still its ETag.", {"type": "string"}))
        if method == "GET":
            said.append(_header("If-None-Match", "Only if its ETag is another.", {"type": "string"}))
    return said


def _header(name: str, about: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": about, "schema": dict(schema)}


def _request_body(call: Call) -> dict[str, Any]:
    if isinstance(call.body, Document):
        schema: dict[str, Any] = ref(call.body.schema)
        required = True
    else:
        fields = call.body or ()
        needed = [field.name for field in fields if field.required]
        schema = {"type": "object", "properties": {field.name: _property(field) for field in fields}}
        if needed:
            schema["required"] = needed
        required = bool(needed)
    content: dict[str, Any] = {"schema": schema}
    if call.example is not None:
        content["example"] = call.example
    return {"required": required, "content": {"application/json": content}}


def _property(field: Any) -> dict[str, Any]:
    schema = dict(field.schema)
    if not field.required:
        # Null counts as absent.
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        if field.default is not None:
            schema["default"] = field.default
    return schema


def _responses(call: Call, method: str, rule: Rule) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for status, name in call.answers.items():
        said[str(status)] = {"description": _DONE[status], **_content(name), **_answer_headers(call, method, status)}
    for status in sorted(_refusals(call, method, rule)):
        answered = {"description": _MEANINGS[status]}
        if status >= 400:
            answered["content"] = {problems.MEDIA_TYPE: {"schema": ref("Problem")}}  # type: ignore[assignment]
        said[str(status)] = answered
    return said


def _content(name: str) -> dict[str, Any]:
    if not name:
        return {}
    if name == "Page":
        return {"content": {"text/html": {"schema": {"type": "string"}}}}
    schema = {"type": "object"} if name == "OpenApi" else ref(name)
    return {"content": {"application/json": {"schema": schema}}}


def _answer_headers(call: Call, method: str, status: int) -> dict[str, Any]:
    headers = {}
    if call.versioned:
        headers["ETag"] = {"description": "This version.", "schema": {"type": "string"}}
    if status == 201:
        headers["Location"] = {"description": "Where it is.", "schema": {"type": "string"}}
    if method == "POST":
        headers["Idempotent-Replayed"] = {"description": "`true`: a stored answer.", "schema": {"type": "string"}}
    return {"headers": headers} if headers else {}


def _refusals(call: Call, method: str, rule: Rule) -> set[int]:
    statuses = {400, 401, 406, 500, 503, *call.refusals}
    if rule.scope is not None:
        statuses.add(403)
    if call.versioned:
        statuses |= {304, 412} if method == "GET" else {412}
    if method == "POST":
        # Any of them may meet the first request with its key; and every session needs its CSRF token.
        statuses |= {403, 409, 413, 415, 422}
    elif method == "PUT":
        statuses |= {403, 413, 415}
    return statuses
