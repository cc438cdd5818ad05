"""Instances: start, list, read, also as they were."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from workflows.api import bodies, etags, paging, parameters, problems
from workflows.api.base import ApiView, answer, read_id, refusal
from workflows.api.calls import Call
from workflows.definitions.search import NAME
from workflows.engine.commands import StartWorkflow
from workflows.engine.lifecycle import InstanceState
from workflows.models import WorkflowInstance
from workflows.runtime import handling, reading, searching
from workflows.runtime.asking import Answer, Asked, Outcome, Reference

_TEXTS = ("workflow_name", "component_name", "business_ref_no", "business_status")
_COLUMNS = ("created_at", "updated_at", "business_ref_no")


class InstanceView(ApiView):
    """A route below one instance."""

    instance: WorkflowInstance

    def look_up(self) -> None:
        """This will find the instance among those that the caller may see."""
        found = WorkflowInstance.objects.visible_to(self.person).filter(pk=read_id(self.kwargs["instance_id"])).first()
        if found is None:
            raise problems.not_found()
        self.instance = found

    def tag(self) -> str:
        """This will give the instance's tag."""
        return etags.of_instance(self.instance)

    @property
    def expected(self) -> int | None:
        """This will give the sequence that the caller saw, where it named one; the door checks it under the lock."""
        return self.instance.last_sequence if self.seen else None


class Instances(ApiView):
    """All instances that the caller may see."""

    calls = {
        "GET": Call(
            "List instances",
            {200: "InstancePage"},
            query=(
                parameters.several("state", InstanceState, "Only instances in one of these states."),
                parameters.text("business_status", "Only instances with this business status."),
                parameters.text("component_name", "Only instances of this component."),
                parameters.text("workflow_name", "Only instances of workflows of this name."),
                parameters.integer("version", "Only instances of this template version."),
                parameters.text("business_ref_no", "Only instances with this reference."),
                parameters.text("stage", "Only instances whose active stage has this name."),
                parameters.moment("created_after", "Only instances created after this moment."),
                parameters.moment("created_before", "Only instances created before this moment."),
                parameters.moment("updated_after", "Only instances changed after this moment."),
                parameters.moment("updated_before", "Only instances changed before this moment."),
                parameters.boolean("has_failed_task", "true: only instances with a failed task; false: those without."),
                parameters.text(
                    "q", "Part of the reference, component, workflow name or business status, whatever its case."
                ),
                parameters.family(
                    "search",
                    "By search fields that templates declare: `search.customer=ACME`, `search.amount__gte=100`; also "
                    "`__gt`, `__lt`, `__lte`, `__prefix` (of a text), `__exists` (`false`: declared, and not there). "
                    "A value counts as each of the types that it can be read as.",
                    member=searching.read_wanted,
                    patterns={
                        rf"^search\.{NAME}(__(gt|gte|lt|lte|prefix))?$": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": searching.MAX_LENGTH,
                        },
                        rf"^search\.{NAME}__exists$": {"type": "string", "enum": ["true", "false"]},
                    },
                ),
                parameters.ordering(_COLUMNS, default="-created_at"),
                *parameters.PAGING,
            ),
        ),
        "POST": Call(
            "Start an instance",
            {201: "Instance", 200: "Instance"},
            about="201 with the new instance; 200 with the existing one, or 409 where `on_conflict` is `fail`. "
            "There is one instance for each workflow, component and reference.",
            body=(
                bodies.identifier("component_name", required=True, about="Picks the template."),
                bodies.identifier("business_ref_no", required=True, about="The business's own name of the case."),
                bodies.identifier("workflow_name", about="Needed where several workflows share the component."),
                bodies.integer("version", least=1, most=2**31 - 1, about="A version; the newest if left out."),
                bodies.mapping("context", default={}, about="What the instance knows at its start."),
                bodies.choice("on_conflict", ("return_existing", "fail"), default="return_existing"),
            ),
            refusals=(404, 409),
            example={"component_name": "ITALIAN", "business_ref_no": "ORDER-001", "context": {"customer": "Ada"}},
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list instances without their stages and tasks."""
        rows = _filtered(WorkflowInstance.objects.visible_to(self.person), self.query)
        column = self.query["ordering"].removeprefix("-")
        descending = self.query["ordering"].startswith("-")
        make = paging.Key if column == "business_ref_no" else paging.moments
        keys = (make(column, descending=descending), paging.ids(descending=descending))
        return answer(
            paging.page(request._request, rows, keys=keys, query=self.query, render=reading.listed_instance_json)
        )

    def post(self, request: Request) -> HttpResponse:
        """This will start an instance, once."""
        body = self.body
        said = handling.handle(
            Asked(
                command=StartWorkflow(business_ref_no=body["business_ref_no"], context=body["context"]),
                target=Reference(
                    component_name=body["component_name"],
                    business_ref_no=body["business_ref_no"],
                    workflow_name=body["workflow_name"],
                ),
                actor=self.person.username,
                cause=self.request_id,
                said={"event_name": "StartWorkflow", **{k: v for k, v in body.items() if v is not None}},
                version=body["version"],
                trace=self.trace,
            )
        )[0]
        if said.outcome is Outcome.REFUSED or said.instance is None:
            raise refusal(said)
        if said.outcome is Outcome.DUPLICATE and body["on_conflict"] == "fail":
            raise problems.Problem(
                "duplicate_instance",
                f"{body['business_ref_no']} exists already.",
                outcome="refused",
                reason=f"{body['business_ref_no']} exists already.",
                instance=instance_now(said),
            )
        return instance_answer(
            WorkflowInstance.objects.get(pk=said.instance.id),
            status=201 if said.created else 200,
            location=reverse("api:instance", args=[said.instance.id]),
        )


class Instance(InstanceView):
    """One instance."""

    calls = {
        "GET": Call(
            "Read one instance, now or as it was",
            {200: "Instance"},
            query=(parameters.integer("at", "As it was after the event of this number, folded from the log."),),
            refusals=(404,),
            versioned=True,
        )
    }

    def tag(self) -> str:
        """This will give the instance's tag; an old state is another version with another tag."""
        at = self.query["at"] if hasattr(self, "query") else None
        return etags.of_instance(self.instance) if at is None else f'"at-{at}"'

    def get(self, request: Request) -> HttpResponse:
        """This will give the instance."""
        at = self.query["at"]
        if at is None:
            return instance_answer(self.instance)
        if at > self.instance.last_sequence:
            raise parameters.bad_value("at", f"The newest event has number {self.instance.last_sequence}.")
        return answer(reading.instance_json(self.instance, at=at), tag=self.tag())


def instance_answer(instance: WorkflowInstance, *, status: int = 200, location: str | None = None) -> HttpResponse:
    """This will give the answer that shows an instance as it is."""
    return answer(reading.instance_json(instance), status=status, tag=etags.of_instance(instance), location=location)


def instance_now(said: Answer) -> dict[str, Any] | None:
    """This will give the few words on an instance that go with what became of a message."""
    now = said.instance
    return None if now is None else {"id": str(now.id), "state": str(now.state), "business_status": now.business_status}


def _filtered(rows: QuerySet[WorkflowInstance], query: dict[str, Any]) -> QuerySet[WorkflowInstance]:
    exact: dict[str, Any] = {name: query[name] for name in (*_TEXTS, "version") if query[name] is not None}
    if query["state"]:
        exact["state__in"] = query["state"]
    if query["stage"] is not None:
        exact["active_stage"] = query["stage"]
    for column in ("created", "updated"):
        for word, lookup in (("after", "gt"), ("before", "lt")):
            if (when := query[f"{column}_{word}"]) is not None:
                exact[f"{column}_at__{lookup}"] = when
    rows = rows.filter(**exact)
    if query["has_failed_task"] is not None:
        rows = rows.filter(failed_tasks__gt=0) if query["has_failed_task"] else rows.filter(failed_tasks=0)
    if query["q"]:
        rows = rows.filter(
            paging.holding(query["q"], "business_ref_no", "component_name", "workflow_name", "business_status")
        )
    return searching.kept(rows, searching.look(query["search"]))
