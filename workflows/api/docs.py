"""The page that shows the API and lets you try it: our own, no code from elsewhere, nothing inline."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from rest_framework import exceptions
from rest_framework.request import Request

from workflows.api import problems, schema
from workflows.api.base import ApiView
from workflows.api.calls import Call


class Docs(ApiView):
    """The page."""

    calls = {"GET": Call("Look at this description, and try it", {200: "Page"})}
    accepts = ("*/*", "text/*", "text/html", "application/xhtml+xml")

    def get(self, request: Request) -> HttpResponse:
        """This will show the page."""
        return render(
            request._request,
            "workflows/api_docs.html",
            {"groups": _groups(schema.description()), "problems": _problems(), "base": request.build_absolute_uri("/")},
        )

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        """This will send strangers to the sign-in, as pages do."""
        if isinstance(exc, exceptions.NotAuthenticated):
            return redirect_to_login(self.request.path)
        return super().handle_exception(exc)


def _groups(description: dict[str, Any]) -> list[dict[str, Any]]:
    calls: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in description["tags"]}
    for path, methods in description["paths"].items():
        for method, said in methods.items():
            calls[said["tags"][0]].append(_call(path, method.upper(), said))
    return [{**tag, "calls": calls[tag["name"]]} for tag in description["tags"]]


def _call(path: str, method: str, said: dict[str, Any]) -> dict[str, Any]:
    content = said.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {
        "id": said["operationId"],
        "method": method,
        "path": path,
        "summary": said["summary"],
        "about": _marked(said["description"]),
        "parameters": [
            {
                **parameter,
                "description": _marked(parameter["description"]),
                "kind": _kind(parameter["schema"]),
                "place": parameter["in"],
            }
            for parameter in said.get("parameters", [])
        ],
        "fields": [
            {
                "name": name,
                "kind": _kind(part),
                "about": _marked(part.get("description", "")),
                "required": name in needed,
            }
            for needed in [content.get("schema", {}).get("required", [])]
            for name, part in content.get("schema", {}).get("properties", {}).items()
        ],
        "body": json.dumps(content.get("example", {}), indent=2, ensure_ascii=False) if content else None,
        "answers": [
            {"status": status, "about": part["description"], "shape": _shape(part)}
            for status, part in said["responses"].items()
        ],
    }


def _marked(text: str) -> SafeString:
    """This will set what stands between backticks as code."""
    parts = enumerate(text.split("`"))
    return format_html_join(
        "", "{}", ((format_html('<code class="code">{}</code>', p) if i % 2 else p,) for i, p in parts)
    )


def _kind(part: dict[str, Any]) -> str:
    kind = part.get("type", "anything")
    words = [word for word in kind if word != "null"] if isinstance(kind, list) else [kind]
    if options := [str(option) for option in part.get("enum", part.get("items", {}).get("enum", [])) if option]:
        return " · ".join(options)
    if "minimum" in part and "maximum" in part:
        return f"{words[0]}, {part['minimum']}–{part['maximum']}"
    return part.get("format", words[0])


def _shape(part: dict[str, Any]) -> str:
    for content in part.get("content", {}).values():
        return str(content["schema"].get("$ref", "")).rpartition("/")[2]
    return ""


def _problems() -> list[dict[str, Any]]:
    known = sorted(problems.STATUS.items(), key=lambda pair: (pair[1], pair[0]))
    return [{"code": code, "status": status, "title": problems.TITLES.get(code, "")} for code, status in known]
