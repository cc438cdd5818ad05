"""Stories for the crash sweep: small workflows, what is asked, and how the services behave. Each ends the same way,
wherever the process is killed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection

from tests.builders import human, retry, service, stage, step, undo, workflow
from tests.faults import records
from tests.faults.world import ASKED, DONE, SWEPT, World
from workflows.models import TaskInstance
from workflows.steps import Done, StepTask, Waiting, callbackstep
from workflows.steps.step import step as registered

REF = "R-1"
Step = Callable[[World], None]


@dataclass(frozen=True)
class Scenario:
    """One story."""

    name: str
    template: Mapping[str, Any]
    steps: Sequence[Step]
    behaviours: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ends: str = "COMPLETED"

    @property
    def component(self) -> str:
        """Give the component that its template belongs to."""
        return f"SWEEP-{self.name}"


# --- what may be done in a story ---


def start(component: str, ref: str = REF, **context: Any) -> Step:
    body = {"component_name": f"SWEEP-{component}", "business_ref_no": ref, "context": context}
    return lambda world: void(world.call("start", "instances/", body, by="service-bot", key=ref))


def say(component: str, event_name: str, *, ref: str = REF, over_http: bool = False, **more: Any) -> Step:
    message = {"component_name": f"SWEEP-{component}", "business_ref_no": ref, "event_name": event_name, **more}

    def do(world: World) -> None:
        if over_http:
            world.call("event", "events/", message, by="service-bot", key=str(more.get("event_id", "")))
        else:
            world.send(message, step=world.step)

    return do


def batch(component: str, *messages: Mapping[str, Any]) -> Step:
    whole = [{"component_name": f"SWEEP-{component}", "business_ref_no": REF, **one} for one in messages]
    return lambda world: void(world.call("batch", "events/batch/", {"events": whole}, by="service-bot", key="batch"))


def act(action: str, *, ref: str = REF, task: str = "", **more: Any) -> Step:
    def do(world: World) -> None:
        key = str(world.instance(ref).pk)
        stage_name, _, task_name = task.rpartition("/")
        about = {"stage_name": stage_name, "task_name": task_name} if task else {}
        path = f"instances/{key}/" + (f"tasks/{stage_name}/{task_name}/" if task else "") + f"{action}/"
        world.call("act", path, {"reason": "why", **more}, by="olivia", key=key, action=action, **about)

    return do


def person(action: str, task: str, *, by: str = "fred", **more: Any) -> Step:
    def do(world: World) -> None:
        key = str(world.human_task(REF, task).pk)
        kind = {"action": action} if action != "complete" else {}
        if action == "complete":
            world.call("decision", f"human-tasks/{key}/complete/", more, by=by, key=key)
        else:
            world.call("claim", f"human-tasks/{key}/{action}/", more, by=by, key=key, **kind)

    return do


def wait(seconds: float) -> Step:
    def do(world: World) -> None:
        world.pass_time(seconds)
        world.mark("wait", seconds=seconds)

    return do


def work_by_lease(queue: str) -> Step:
    def do(world: World) -> None:
        told = world.call("lease", f"queues/{queue}/lease/", {"worker_id": "w", "lease_seconds": 60}, by="service-bot",
                          key=queue, step=-1)  # fmt: skip
        for task in (told or {}).get("tasks", ()):
            message = {
                "event_name": "TaskCompleted",
                **{
                    name: task[name]
                    for name in (
                        "component_name", "business_ref_no", "stage_name", "task_name", "attempt", "lease_id",
                        "compensation",
                    )
                    if name in task
                },
            }  # fmt: skip
            world.call("event", "events/", message, by="service-bot", key="")
        # Where its result was taken and the answer lost, nothing is left to lease; what somebody held comes back.
        if told is not None and not told.get("tasks") and not world.offers(queue):
            world.mark("lease")

    return do


def publish(template: Mapping[str, Any]) -> Step:
    return lambda world: void(world.call("publish", "templates/", dict(template), by="olivia", key="template"))


def nonsense(body: bytes) -> Step:
    return lambda world: world.send({}, raw=body, step=world.step)


def resubmit() -> Step:
    def do(world: World) -> None:
        from workflows.models import QuarantinedMessage

        held = QuarantinedMessage.objects.filter(code="unknown_instance").order_by("id").first()
        assert held is not None
        if held.state != "OPEN":
            world.mark("resubmit")
            return
        # 409 while the operator who died still has it in hand: asked again later.
        told = world.call("resubmit", f"quarantine/{held.pk}/resubmit/", {}, by="olivia", key=str(held.pk), step=-1)
        if told and told.get("state") == "RESUBMITTED":
            world.mark("resubmit")

    return do


def together(component: str) -> Step:
    """The same start twice, from the broker and over HTTP."""

    def do(world: World) -> None:
        message = {"component_name": f"SWEEP-{component}", "business_ref_no": REF, "event_name": "StartWorkflow"}
        world.send(message, step=-1)
        world.send(message, step=-1)
        start(component)(world)

    return do


def void(_: object) -> None:
    """Steps give nothing."""


def _written(task: StepTask, what: str) -> None:
    """Write a row that is there if, and only if, the log says what became of the step."""
    undoing = "undoing " if task.compensation else ""
    Group.objects.create(name=f"{SWEPT} {task.instance_id} {task.task_name} {task.attempt} {undoing}{what}")


@registered(name="sweep_add")
def _add(task: StepTask) -> Done:
    _written(task, DONE)
    return Done({"added": task.attempt})


@registered(name="sweep_wait")
def _wait(task: StepTask) -> Done | Waiting:
    _written(task, DONE if task.woken else ASKED)
    return Done({"got": task.signal}) if task.woken else Waiting("go")


@registered(name="sweep_late")
def _late(task: StepTask) -> Done:
    _written(task, DONE)
    if task.attempt == 1:
        raise LookupError("not yet")
    return Done()


def _called(task: StepTask) -> None:
    _written(task, DONE)


@callbackstep("Ask", name="sweep_called", validate=_called)
def _call(task: StepTask, callback_url: str) -> None:
    _written(task, ASKED)
    # Outside of the database: whoever is asked has the address, whatever becomes of the step.
    addresses().add({"address": callback_url})


def addresses() -> records.Lines:
    """Give the file of the addresses that steps have given away."""
    return records.Lines(Path(connection.settings_dict["NAME"]).parent / "addresses.jsonl")


def call_back() -> Step:
    """Call every address until no step waits any more."""

    def do(world: World) -> None:
        world.settle()
        for one in records.read_lines(world.folder / "addresses.jsonl"):
            path = one["address"].removeprefix("/api/v1/")
            world.call("callback", path, {"rc": 0}, by="service-bot", key=path, step=-1)
        world.settle()
        if not TaskInstance.objects.filter(state="WAITING").exists():
            world.mark("callback")

    return do


@registered(name="sweep_undo")
def _undo(task: StepTask) -> Done:
    _written(task, DONE)
    return Done()


@registered(name="sweep_undo_asked")
def _undo_asked(task: StepTask) -> Done | Waiting:
    _written(task, DONE if task.woken else ASKED)
    return Done() if task.woken else Waiting("back")


# --- the stories ---

_THREE = (service("a"), service("b", "a"), service("c", "b"))
_UNDONE = (service("a", **undo("undo_a")), service("b", "a", **undo("undo_b")))
_LONG = 3600.0

SCENARIOS: Sequence[Scenario] = (
    Scenario(
        "linear",
        workflow(
            stage("A", service("a", business_status="A DONE")), stage("B", service("b")), stage("C", service("c"))
        ),
        (start("linear", x=1),),
        {"b": ("twice",)},
    ),
    Scenario(
        "diamond",
        workflow(service("a"), service("b", "a"), service("c", "a"), service("d", "b", "c")),
        (start("diamond"),),
    ),
    Scenario(
        "human",
        workflow(
            human("check"), human("sign", "check", outcomes=[{"name": "yes", "label": "Yes"}]), service("pay", "sign")
        ),
        (
            start("human"),
            person("claim", "check"),
            person("complete", "check", data={"seen": True}),
            person("claim", "sign", by="fiona"),
            person("release", "sign", by="fiona"),
            person("complete", "sign", by="fred", outcome="yes"),
        ),
    ),
    Scenario(
        "retry",
        workflow(service("a", **retry(3, 30)), service("b", "a")),
        (start("retry"), wait(40), wait(80)),
        {"a": ("fail", "fail")},
    ),
    Scenario(
        "timeout",
        workflow(service("a", timeout_seconds=_LONG, **retry(2)), service("b", "a"), timeout_seconds=20 * _LONG),
        (start("timeout"), wait(_LONG + 1)),
        {"a": ("silent",)},
    ),
    Scenario(
        "halt",
        workflow(service("a"), service("b", "a")),
        (start("halt"), say("halt", "TaskPending", stage_name="S", task_name="a", event_id="again")),
        {"a": ("fail",)},
    ),
    Scenario(
        "rollback",
        workflow(stage("A", *_UNDONE), stage("B", service("c", on_failure="rollback", **retry(2)))),
        (start("rollback"),),
        {"c": ("fail", "fail")},
        ends="ROLLED_BACK",
    ),
    Scenario(
        "rollback-fails",
        workflow(stage("A", *_UNDONE), stage("B", service("c"))),
        (start("rollback-fails"), act("rollback"), act("retry", task="A/a")),
        {"undo a": ("fail",), "c": ("silent",)},
        ends="ROLLED_BACK",
    ),
    Scenario(
        "cancel",
        workflow(service("a"), human("b", "a"), service("c", "a")),
        (
            start("cancel"),
            act("cancel"),
            say("cancel", "TaskCompleted", stage_name="S", task_name="c", event_id="late"),
        ),
        {"c": ("silent",)},
        ends="CANCELLED",
    ),
    Scenario(
        "replay",
        workflow(stage("A", *_THREE), stage("B", service("d"))),
        (start("replay"), act("replay", task="A/b")),
    ),
    Scenario(
        "batch",
        workflow(service("a"), service("b"), service("c", "a", "b")),
        (
            start("batch"),
            batch(
                "batch",
                {"event_name": "TaskStarted", "stage_name": "S", "task_name": "a", "event_id": "1"},
                {"event_name": "TaskCompleted", "stage_name": "S", "task_name": "a", "event_id": "2"},
                {"event_name": "TaskCompleted", "stage_name": "S", "task_name": "b", "event_id": "3"},
                {"event_name": "TaskCompleted", "stage_name": "S", "task_name": "b", "event_id": "3"},
                {"event_name": "TaskCompleted", "stage_name": "S", "task_name": "nobody", "event_id": "4"},
            ),
        ),
        {"a": ("mute",), "b": ("mute",)},
    ),
    Scenario(
        "lease",
        workflow(service("a"), service("b")),
        (start("lease"), work_by_lease("a_queue"), work_by_lease("b_queue")),
        {"a": ("mute",) * 9, "b": ("mute",) * 9},
    ),
    Scenario(
        "quarantine",
        workflow(service("a")),
        (
            nonsense(b"{nope"),
            say("quarantine", "TaskCompleted", stage_name="S", task_name="a", event_id="early"),
            start("quarantine"),
            resubmit(),
        ),
        {"a": ("mute",)},
    ),
    Scenario(
        "suspend",
        workflow(service("a"), service("b"), service("c", "a", "b")),
        (
            start("suspend"),
            act("suspend"),
            say("suspend", "TaskCompleted", stage_name="S", task_name="a", attempt=1, over_http=True),
            say("suspend", "TaskCompleted", stage_name="S", task_name="b", attempt=1, event_id="b"),
            act("resume"),
        ),
        {"a": ("mute",), "b": ("mute",)},
    ),
    Scenario(
        "steps",
        workflow(
            # What breaks inside of a step is a failure of its attempt.
            step("one", step="sweep_add", compensate={"step": "sweep_undo", **retry(2)}, **retry(2)),
            step("two", "one", step="sweep_wait", **retry(2)),
            service("three", "two", on_failure="rollback"),
        ),
        (
            start("steps"),
            say("steps", "Signal", name="go", payload=1, event_id="go"),
            # For the second attempt of a step that broke after the first signal had woken it; else it comes too late.
            say("steps", "Signal", name="go", payload=1, event_id="again"),
        ),
        {"three": ("fail",)},
        ends="ROLLED_BACK",
    ),
    Scenario(
        "steps-asked",
        workflow(
            step("one", step="sweep_late", compensate={"step": "sweep_undo", **retry(2)}, **retry(4, 30)),
            step("two", "one", step="sweep_called", compensate={"step": "sweep_undo_asked", **retry(3)}, **retry(3)),
            service("three", "two", on_failure="rollback"),
        ),
        (
            start("steps-asked"),
            wait(70),
            call_back(),
            say("steps-asked", "Signal", name="back", event_id="back"),
            # As above; and as what undoes may break on its way to ask, and when it was woken.
            say("steps-asked", "Signal", name="back", event_id="again"),
        ),
        {"three": ("fail",)},
        ends="ROLLED_BACK",
    ),
    Scenario(
        "late",
        workflow(service("a", timeout_seconds=_LONG, **retry(2)), service("b", "a")),
        (
            start("late"),
            wait(_LONG + 1),
            say("late", "TaskCompleted", stage_name="S", task_name="a", attempt=1, event_id="first"),
            say("late", "TaskCompleted", stage_name="S", task_name="a", attempt=2, event_id="second"),
        ),
        {"a": ("mute", "mute")},
    ),
    Scenario(
        "edited",
        workflow(service("a", colour="red"), service("b", "a", colour="red")),
        (
            start("edited"),
            publish(
                {
                    **workflow(service("a", colour="blue"), service("b", "a", colour="blue")),
                    "component_name": "SWEEP-edited",
                }
            ),
            say("edited", "TaskCompleted", stage_name="S", task_name="a", attempt=1, event_id="first"),
            start("edited", "R-2"),
            say("edited", "TaskCompleted", ref="R-2", stage_name="S", task_name="a", attempt=1, event_id="second"),
        ),
        {"a": ("mute",)},
    ),
    Scenario(
        "open",
        workflow(service("a", timeout_seconds=_LONG), human("b"), service("c", **retry(3, _LONG))),
        (start("open"),),
        {"a": ("silent",), "c": ("fail",)},
        ends="RUNNING",
    ),
    Scenario(
        "start-twice",
        workflow(service("a")),
        (together("start-twice"), say("start-twice", "StartWorkflow", over_http=True)),
    ),
)
