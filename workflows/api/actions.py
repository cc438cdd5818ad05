"""What operators do to an instance, a stage or a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies
from workflows.api.base import refusal
from workflows.api.calls import Call
from workflows.api.instances import InstanceView, instance_answer, instance_now
from workflows.engine import commands
from workflows.models import WorkflowInstance
from workflows.runtime import handling
from workflows.runtime.asking import Asked, Outcome

_WHY = bodies.text("reason", required=True, about="Why; it is kept in the history.")
_PERHAPS_WHY = bodies.text("reason", about="Why; it is kept in the history.")
_ATTEMPT = bodies.integer("attempt", least=1, most=2**31 - 1, about="Which attempt; the newest if left out.")
_UNDOING = bodies.flag("compensation", about="true: the task's undoing is meant, not the task.")
_OUTPUT = bodies.mapping("output", about="What the task would have put out; merged into the context.")
_EXAMPLE = {"reason": "The bank is back"}

Make = Callable[[Mapping[str, Any], Mapping[str, Any]], commands.Command]
"""How names of the address and the body become a command."""


class Action(InstanceView):
    """One act on one instance: a name, a body, a command."""

    name: ClassVar[str] = ""
    make: ClassVar[Make]

    def post(self, request: Request) -> HttpResponse:
        """This will do it, and show the instance as it is then."""
        names = {name: value for name, value in self.kwargs.items() if name != "instance_id"}
        said = handling.handle(
            Asked(
                command=type(self).make(names, self.body),
                target=self.instance.pk,
                actor=self.person.username,
                cause=self.request_id,
                said={"action": self.name, **names, **{k: v for k, v in self.body.items() if v not in (None, False)}},
                if_match=self.expected,
                trace=self.trace,
            )
        )[0]
        if said.outcome is Outcome.REFUSED:
            raise refusal(said, outcome="refused", reason=said.reason, instance=instance_now(said))
        return instance_answer(WorkflowInstance.objects.get(pk=self.instance.pk))


def _action(name: str, summary: str, make: Make, *fields: bodies.Field) -> type[Action]:
    call = Call(summary, {200: "Instance"}, body=fields, refusals=(404, 409), versioned=True, example=_EXAMPLE)
    return type(
        f"{name.title().replace('-', '')}Action",
        (Action,),
        {"name": name, "make": staticmethod(make), "calls": {"POST": call}, "__doc__": summary + "."},
    )


def _on_task(command: type[commands.OnTask], *extra: str) -> Make:
    def make(names: Mapping[str, Any], body: Mapping[str, Any]) -> commands.Command:
        said = {name: body[name] for name in ("reason", "attempt", "compensation", *extra)}
        return command(stage_name=names["stage_name"], task_name=names["task_name"], **said)

    return make


_ON_TASK = (_WHY, _ATTEMPT, _UNDOING)

SuspendInstance = _action(
    "suspend",
    "Schedule nothing more until it is resumed",
    lambda names, body: commands.SuspendWorkflow(reason=body["reason"]),
    _PERHAPS_WHY,
)
ResumeInstance = _action(
    "resume",
    "Go on, or accept that it took too long",
    lambda names, body: commands.ResumeWorkflow(reason=body["reason"]),
    _PERHAPS_WHY,
)
CancelInstance = _action(
    "cancel",
    "End it; what was done stays done",
    lambda names, body: commands.CancelWorkflow(reason=body["reason"]),
    _WHY,
)
RollBackInstance = _action(
    "rollback",
    "Undo what was done, newest first",
    lambda names, body: commands.RollBackWorkflow(reason=body["reason"]),
    _WHY,
)
RetryTask = _action("retry", "Send a task, or its undoing, again", _on_task(commands.RetryTask), *_ON_TASK)
SkipTask = _action(
    "skip", "Find a task not needed; of an undoing: its effect stands", _on_task(commands.SkipTask), *_ON_TASK
)
CompleteTask = _action(
    "complete",
    "Say that a task was done, or undone, by hand",
    _on_task(commands.CompleteTaskByHand, "output"),
    *_ON_TASK,
    _OUTPUT,
)
FailTask = _action("fail", "Give a task up: all its attempts are spent", _on_task(commands.FailTaskByHand), *_ON_TASK)
ReplayTask = _action(
    "replay", "Run a done task, and what depends on it, again", _on_task(commands.ReplayTask), *_ON_TASK
)
ReplayStage = _action(
    "replay-stage",
    "Run a stage and all later ones again",
    lambda names, body: commands.ReplayStage(stage_name=names["stage_name"], reason=body["reason"]),
    _WHY,
)
