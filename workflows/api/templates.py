"""Templates: publish, check, list, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from workflows.api import etags, paging, parameters, problems
from workflows.api.base import ApiView, answer, moment, read_id
from workflows.api.calls import Call, Document
from workflows.definitions.problems import InvalidTemplate
from workflows.models import WorkflowTemplate
from workflows.runtime import publishing

_NEWEST = (paging.moments("created_at", descending=True), paging.ids(descending=True))
_EXAMPLE = {
    "workflow_name": "Deliver Pizza",
    "component_name": "ITALIAN",
    "stages": [
        {
            "stage_name": "ORDER",
            "stage_order": 1.0,
            "tasks": [
                {
                    "task_name": "confirm_order",
                    "parent_task": [],
                    "task_queue": "confirm_order_queue",
                    "task_type": "SERVICE",
                    "business_status": "ORDER CONFIRMED",
                }
            ],
        }
    ],
}


class Templates(ApiView):
    """All published versions."""

    calls = {
        "GET": Call(
            "List the published versions of workflows",
            {200: "TemplatePage"},
            query=(
                parameters.text("workflow_name", "Only versions of workflows of this name."),
                parameters.text("component_name", "Only versions for this component."),
                parameters.boolean("latest", "true: only the newest version of each workflow."),
                *parameters.PAGING,
            ),
        ),
        "POST": Call(
            "Publish a template",
            {201: "PublishedTemplate", 200: "PublishedTemplate"},
            about="201 for a new version; 200 where the newest version has the same content. Every fault is listed.",
            body=Document("TemplateDefinition"),
            example=_EXAMPLE,
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list versions, newest first; definitions are given one by one."""
        rows = WorkflowTemplate.objects.defer("definition")
        if self.query["latest"]:
            rows = rows.latest().defer("definition")
        rows = rows.filter(
            **{name: self.query[name] for name in ("workflow_name", "component_name") if self.query[name] is not None}
        )
        return answer(paging.page(request._request, rows, keys=_NEWEST, query=self.query, render=_summary))

    def post(self, request: Request) -> HttpResponse:
        """This will publish what was sent."""
        try:
            published = publishing.publish_template(self.body, by=self.person.username)
        except InvalidTemplate as error:
            raise _invalid(error) from None
        template = published.template
        return answer(
            {**_identity(template), "warnings": _plain(published.warnings)},
            status=201 if published.created else 200,
            tag=etags.of_template(template),
            location=reverse("api:template", args=[template.pk]),
        )


class TemplateCheck(ApiView):
    """A template that is not published yet."""

    calls = {
        "POST": Call(
            "Check a template and store nothing",
            {200: "TemplateCheck"},
            body=Document("TemplateDefinition"),
            example=_EXAMPLE,
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will say whether it could be published."""
        try:
            warnings = publishing.check_template(self.body)
        except InvalidTemplate as error:
            raise _invalid(error) from None
        return answer({"valid": True, "warnings": _plain(warnings)})


class Template(ApiView):
    """One published version."""

    calls = {"GET": Call("Read one version with its definition", {200: "Template"}, versioned=True, refusals=(404,))}

    def look_up(self) -> None:
        """This will find the version."""
        found = WorkflowTemplate.objects.filter(pk=read_id(self.kwargs["template_id"])).first()
        if found is None:
            raise problems.not_found()
        self.template = found

    def tag(self) -> str:
        """This will give the version's tag."""
        return etags.of_template(self.template)

    def get(self, request: Request) -> HttpResponse:
        """This will give the version."""
        return answer({**_summary(self.template), "definition": self.template.definition}, tag=self.tag())


def _identity(template: WorkflowTemplate) -> dict[str, Any]:
    return {
        "id": str(template.pk),
        "workflow_name": template.workflow_name,
        "component_name": template.component_name,
        "version": template.version,
        "fingerprint": template.fingerprint,
    }


def _summary(template: WorkflowTemplate) -> dict[str, Any]:
    return {
        **_identity(template),
        "warnings": template.warnings or [],
        "published_by": template.published_by,
        "created_at": moment(template.created_at),
    }


def _plain(warnings: Sequence[Any]) -> list[Any]:
    return [warning if isinstance(warning, dict) else asdict(warning) for warning in warnings]


def _invalid(error: InvalidTemplate) -> problems.Problem:
    count = len(error.problems)
    return problems.Problem(
        "invalid_template",
        f"{count} {'fault has' if count == 1 else 'faults have'} to be corrected: {error}",
        errors=[problems.fault(fault.pointer, fault.code, fault.message) for fault in error.problems],
    )
