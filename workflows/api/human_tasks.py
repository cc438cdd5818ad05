"""People's tasks: list, read, claim, release, reassign, decide, comment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.db.models import DateTimeField, QuerySet, Value
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request

from workflows.api import bodies, etags, paging, parameters, problems
from workflows.api.base import ApiView, answer, read_id, refusal
from workflows.api.calls import Call
from workflows.api.history import event_json
from workflows.api.instances import instance_now
from workflows.engine import commands
from workflows.engine.lifecycle import TaskState
from workflows.models import HumanTask, LoggedEvent, Person
from workflows.runtime import handling, reading
from workflows.runtime.asking import Asked, Outcome

_VIEWS = ("mine", "claimable", "done", "overdue")
_HISTORY = 200
"""So many of the newest events of a task are shown with it; all of them are in the history of its instance."""
# Tasks without a due moment come last; a keyset needs a value to go on from.
_NEVER = Value(dt.datetime(9999, 12, 31, tzinfo=dt.UTC), output_field=DateTimeField())


class HumanTasks(ApiView):
    """What the caller may do, has, or has done."""

    calls = {
        "GET": Call(
            "List people's tasks",
            {200: "HumanTaskPage"},
            about="Without `view` and `state`: the open ones that the caller may see.",
            query=(
                parameters.choice(
                    "view",
                    _VIEWS,
                    "mine: held by the caller or assigned to them alone; claimable: open and free for them; "
                    "done: decided by them; overdue: open and past its due moment.",
                ),
                parameters.several("state", TaskState, "Only tasks in one of these states."),
                parameters.text("component_name", "Only tasks of instances of this component."),
                parameters.text("q", "Part of the reference, workflow, stage, task or title, whatever its case."),
                parameters.ordering(("due_at", "created_at"), default="due_at"),
                *parameters.PAGING,
            ),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list tasks."""
        query = self.query
        rows = _filtered(HumanTask.objects.visible_to(self.person), query, self.person).select_related("instance")
        descending = query["ordering"].startswith("-")
        keys: tuple[paging.Key, ...]
        keys = (paging.moments("created_at", descending=descending), paging.ids(descending=descending))
        if query["ordering"].removeprefix("-") == "due_at":
            rows = rows.annotate(due_or_never=Coalesce("due_at", _NEVER))
            # Of those due at one moment the oldest comes first, either way round.
            keys = (paging.moments("due_or_never", descending=descending), paging.moments("created_at"), paging.ids())
        return answer(
            paging.page(
                request._request,
                rows,
                keys=keys,
                query=query,
                render=lambda task: reading.human_task_json(task, self.person),
            )
        )


class HumanTaskView(ApiView):
    """A route below one task of a person."""

    task: HumanTask

    def look_up(self) -> None:
        """This will find the task among those that the caller may see."""
        found = (
            HumanTask.objects.visible_to(self.person)
            .select_related("instance")
            .filter(pk=read_id(self.kwargs["human_task_id"]))
            .first()
        )
        if found is None:
            raise problems.not_found()
        self.task = found

    def tag(self) -> str:
        """This will give the task's tag."""
        return etags.of_human_task(self.task)

    def show(self) -> HttpResponse:
        """This will give the task as it is now."""
        return answer(reading.human_task_json(self.task, self.person), tag=self.tag())


class HumanTaskDetail(HumanTaskView):
    """One task of a person."""

    calls = {
        "GET": Call(
            "Read one task: form, outcomes, context, history, and why it is yours",
            {200: "HumanTaskDetail"},
            refusals=(404,),
            versioned=True,
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will give the task with what happened to it."""
        task = self.task
        events = LoggedEvent.objects.filter(
            instance_id=task.instance_id, stage_name=task.stage_name, task_name=task.task_name
        )
        history = [
            event_json(event, template=self.task.instance.template_id)
            for event in reversed(events.order_by("-sequence")[:_HISTORY])
        ]
        return answer({**reading.human_task_json(task, self.person), "history": history}, tag=self.tag())


Make = Callable[[Mapping[str, Any], Mapping[str, Any]], commands.Command]
"""How the address (task and person) and the body become a command."""


class HumanTaskAction(HumanTaskView):
    """One act of a person on one task."""

    name: ClassVar[str] = ""
    make: ClassVar[Make]

    def post(self, request: Request) -> HttpResponse:
        """This will do it, and show the task as it is then."""
        who = {
            "stage_name": self.task.stage_name,
            "task_name": self.task.task_name,
            "attempt": self.task.attempt,
            "compensation": self.task.compensation,
            "by": self.person.username,
            "groups": self.person.groups,
            "operator": self.person.is_operator,
        }
        said = handling.handle(
            Asked(
                command=type(self).make(who, self.body),
                target=self.task.instance_id,
                actor=self.person.username,
                cause=self.request_id,
                said={
                    "action": self.name,
                    "human_task": str(self.task.pk),
                    "stage_name": self.task.stage_name,
                    "task_name": self.task.task_name,
                    "attempt": self.task.attempt,
                    **{key: value for key, value in self.body.items() if value is not None},
                },
                if_match=self.task.instance.last_sequence if self.seen else None,
                trace=self.trace,
            )
        )[0]
        if said.outcome is Outcome.REFUSED:
            members: dict[str, Any] = {}
            if said.code in ("invalid_body", "permission_denied", "four_eyes"):
                raise refusal(said)
            members = {"outcome": "refused", "reason": said.reason, "instance": instance_now(said)}
            raise refusal(said, **members)
        self.task = HumanTask.objects.select_related("instance").get(pk=self.task.pk)
        return self.show()


def _action(name: str, summary: str, make: Make, *fields: bodies.Field, example: Any = None) -> type[HumanTaskAction]:
    call = Call(summary, {200: "HumanTask"}, body=fields, refusals=(404, 409), versioned=True, example=example or {})
    return type(
        f"HumanTask{name.title()}",
        (HumanTaskAction,),
        {"name": name, "make": staticmethod(make), "calls": {"POST": call}, "__doc__": summary + "."},
    )


ClaimHumanTask = _action("claim", "Take a task for yourself", lambda who, body: commands.ClaimTask(**who))
ReleaseHumanTask = _action("release", "Give a claimed task back", lambda who, body: commands.ReleaseTask(**who))
ReassignHumanTask = _action(
    "reassign",
    "Give a task to another person or group",
    lambda who, body: commands.ReassignTask(**who, assigned_to=body["assigned_to"], reason=body["reason"]),
    bodies.identifier("assigned_to", required=True, about="A user or a group."),
    bodies.text("reason", required=True, about="Why; it is kept in the history."),
    example={"assigned_to": "finance", "reason": "Fred is on holiday"},
)
CompleteHumanTask = _action(
    "complete",
    "Decide a task",
    lambda who, body: commands.DecideTask(**who, outcome=body["outcome"], data=body["data"], comment=body["comment"]),
    bodies.text("outcome", most=200, about="One of the task's outcomes; may be left out when none are declared."),
    bodies.mapping("data", default={}, about="What was filled in; checked by the form."),
    bodies.text("comment", most=10_000, default="", about="Required where the outcome makes the task fail."),
    example={"outcome": "complete", "data": {}, "comment": ""},
)
CommentHumanTask = _action(
    "comment",
    "Say something about a task",
    lambda who, body: commands.CommentTask(**who, comment=body["comment"]),
    bodies.text("comment", required=True, most=10_000),
    example={"comment": "I have asked the customer"},
)


def _filtered(rows: QuerySet[Any], query: Mapping[str, Any], person: Person) -> QuerySet[Any]:
    match query["view"]:
        case "mine":
            rows = rows.mine(person)  # type: ignore[attr-defined]
        case "claimable":
            rows = rows.claimable(person)  # type: ignore[attr-defined]
        case "done":
            rows = rows.done(person)  # type: ignore[attr-defined]
        case "overdue":
            rows = rows.overdue(timezone.now())  # type: ignore[attr-defined]
        case None if not query["state"]:
            rows = rows.open()  # type: ignore[attr-defined]
    if query["state"]:
        rows = rows.filter(state__in=query["state"])
    if query["component_name"] is not None:
        rows = rows.filter(instance__component_name=query["component_name"])
    if query["q"]:
        rows = rows.filter(
            paging.holding(
                query["q"],
                "instance__business_ref_no",
                "instance__component_name",
                "instance__workflow_name",
                "instance__business_status",
                "stage_name",
                "task_name",
                "title",
            )
        )
    return rows
