"""Random commands about the tasks of a template: right ones, early, late, stale and misplaced ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.templates import templates
from workflows.definitions.schema import TaskDefinition, TaskKind, WorkflowDefinition
from workflows.engine import commands as c
from workflows.engine.snapshot import Snapshot, Task

PEOPLE = {
    "fred": {"by": "fred", "groups": frozenset({"finance"})},
    "fiona": {"by": "fiona", "groups": frozenset({"finance", "managers"})},
    "mona": {"by": "mona", "groups": frozenset({"managers"})},
    "olivia": {"by": "olivia", "operator": True},
}
OUTPUTS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "amount": st.integers(-3, 3) | st.none(),
        "paid": st.booleans(),
        "order": st.fixed_dictionaries({"country": st.sampled_from(["IT", "FR", None])}),
    },
)
_ERRORS = st.none() | st.just({"code": "broken", "message": "It broke."})
_ATTEMPTS = st.sampled_from([None] * 6 + [1, 1, 2, 3, 9])
_SIGNALS = st.sampled_from(["paid", "shipped"])
_REASONS = st.just("why")


def busy_templates(**how: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Templates with something to do: at least three tasks."""
    return templates(**how).filter(lambda one: sum(len(stage.get("tasks", ())) for stage in one["stages"]) >= 3)


def services_say(definition: WorkflowDefinition) -> st.SearchStrategy[c.Command]:
    """What services say: taken, done, failed, again, of tasks and of their undoing."""
    about = {"compensation": st.sampled_from([False, False, True])}
    return st.one_of(
        _of(c.CompleteTask, definition, **about, output=OUTPUTS),
        _of(c.CompleteTask, definition, **about, output=OUTPUTS),
        _of(c.FailTask, definition, **about, error=_ERRORS),
        _of(c.BeginTask, definition, **about, worker=st.sampled_from([None, "w"])),
        _of(c.RetryTask, definition, **about),
        st.builds(c.SendSignal, name=_SIGNALS, payload=st.integers(0, 3)),
    )


def steps_say(definition: WorkflowDefinition) -> st.SearchStrategy[c.Command]:
    """What a step says that cannot go on."""
    return _of(c.AwaitSignal, definition, TaskKind.STEP, name=_SIGNALS, memory=st.integers(0, 3))


def people_say(definition: WorkflowDefinition) -> st.SearchStrategy[c.Command]:
    """What people do: theirs and not theirs."""

    def by(kind: Any, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[c.Command]:
        return _of(
            lambda person, **rest: kind(**PEOPLE[person], **rest),
            definition,
            TaskKind.HUMAN,
            person=st.sampled_from(["fred", "fred", "fiona", "fiona", "mona", "olivia"]),
            compensation=st.sampled_from([False, False, True]),
            **more,
        )

    decision = by(
        c.DecideTask,
        outcome=st.sampled_from([None, None, "approve", "approve", "reject", "back", "complete", "maybe"]),
        data=st.sampled_from([{"note": "well"}, {"note": "well"}, {"amount": -1}, {}]),
        comment=st.sampled_from(["", "because"]),
    )
    return st.one_of(
        decision,
        decision,
        by(c.ClaimTask),
        by(c.ReleaseTask),
        by(c.ReassignTask, assigned_to=st.sampled_from(["fred", "finance", "managers", "nobody"]), reason=_REASONS),
        by(c.CommentTask, comment=_REASONS),
    )


def operators_say(definition: WorkflowDefinition) -> st.SearchStrategy[c.Command]:
    """What operators do to a task, a stage, an instance."""
    about = {"reason": _REASONS, "compensation": st.sampled_from([False] * 4 + [True])}
    return st.one_of(
        _of(c.RetryTask, definition, **about),
        _of(c.SkipTask, definition, **about),
        _of(c.CompleteTaskByHand, definition, **about, output=OUTPUTS),
        _of(c.FailTaskByHand, definition, **about),
        _of(c.ReplayTask, definition, **about),
        st.builds(
            c.ReplayStage,
            stage_name=st.sampled_from([*definition.stage_positions, "NOWHERE"]),
            reason=_REASONS,
        ),
        st.builds(c.SuspendWorkflow),
        st.builds(c.ResumeWorkflow),
        st.builds(c.ResumeWorkflow),
    )


def endings() -> st.SearchStrategy[c.Command]:
    """What ends an instance."""
    return st.builds(c.RollBackWorkflow, reason=_REASONS) | st.builds(c.CancelWorkflow, reason=_REASONS)


def anything(definition: WorkflowDefinition) -> st.SearchStrategy[c.Command]:
    """Any of them; what moves an instance on comes more often than what ends it."""
    services, operators = services_say(definition), operators_say(definition)
    return st.one_of(services, services, services, people_say(definition), operators, steps_say(definition), endings())


def fitting(definition: WorkflowDefinition, now: Snapshot) -> list[c.Command]:
    """Commands that suit the state of the instance, so that stories get deep: most of them are accepted."""
    fit: list[c.Command] = []
    definition = now.grown or definition
    for task, state in zip(definition.tasks, now.tasks, strict=True):
        fit += _fitting_task(task, state, now)
    match now.state:
        case "RUNNING" | "FAILED":
            fit += [c.SuspendWorkflow(), c.SendSignal("paid"), c.SendSignal("shipped", 1)]
            fit += [c.ReplayStage(definition.stages[now.active_stage].stage_name, "why")] * (now.active_stage >= 0)
            fit += [c.ResumeWorkflow()] * now.timed_out
            if len(fit) % 3 == 0:  # not always there, or no story would live long
                fit += [c.RollBackWorkflow("why"), c.CancelWorkflow("why")]
        case "SUSPENDED":
            fit += [c.ResumeWorkflow()] * 4 + [c.RollBackWorkflow("why")]
    return fit


def _fitting_task(task: TaskDefinition, state: Task, now: Snapshot) -> list[c.Command]:
    name = (task.stage_name, task.task_name)
    done = c.CompleteTask(*name, output={"amount": state.attempt})
    operators = [
        c.RetryTask(*name, reason="why"),
        c.SkipTask(*name, reason="why"),
        c.CompleteTaskByHand(*name, reason="why"),
    ]
    match state.state:
        case "SCHEDULED" | "STARTED":
            fit = [done, done, c.FailTask(*name), c.FailTask(*name), c.BeginTask(*name), c.RetryTask(*name), *operators]
            fit += [c.FailTaskByHand(*name, reason="why")]
            if task.kind is TaskKind.HUMAN:
                fit += _fitting_person(name, compensation=False)
            if task.kind is TaskKind.STEP:
                fit += [c.AwaitSignal(*name, name="paid"), c.AwaitSignal(*name, name="shipped", memory=1)]
            return fit
        case "WAITING":
            return [c.RetryTask(*name), *operators, *([done] if state.signal else [])]
        case "FAILED" if now.state not in ("ROLLING_BACK", "ROLLBACK_FAILED"):
            return [*operators, c.ReplayTask(*name, reason="why")]
        case "COMPLETED" | "SKIPPED" if now.state in ("RUNNING", "FAILED", "COMPLETED"):
            return [c.ReplayTask(*name, reason="why")]
        case "COMPENSATING":
            undone = c.CompleteTask(*name, compensation=True)
            fit = [
                undone,
                undone,
                c.FailTask(*name, compensation=True),
                c.BeginTask(*name, compensation=True),
                *operators,
            ]
            fit += [done] * state.withdrawn
            return fit + _fitting_person(name, compensation=True)
        case "COMPENSATION_FAILED":
            return [*operators, *([done] * state.withdrawn)]
        case "CANCELLED" | "COMPENSATED" if state.withdrawn:
            return [done, done]
    return []


def _fitting_person(name: tuple[str, str], *, compensation: bool) -> list[c.Command]:
    def by(kind: Any, person: str, **more: Any) -> c.Command:
        return kind(*name, compensation=compensation, **PEOPLE[person], **more)  # type: ignore[no-any-return]

    fit = [by(c.ReassignTask, "olivia", assigned_to="finance", reason="why")]
    for person in ("fred", "fiona"):
        fit += [by(c.ClaimTask, person), by(c.ReleaseTask, person)]
        fit += [
            by(c.DecideTask, person, outcome=outcome, data={"note": "well"}, comment="because")
            for outcome in (None, "approve", "reject", "back", "back")
        ]
    return fit


def _of(
    make: Any, definition: WorkflowDefinition, kind: TaskKind | None = None, **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[c.Command]:
    chosen = [task for task in definition.tasks if kind in (None, task.kind)] or list(definition.tasks)
    names = [(task.stage_name, task.task_name) for task in chosen] or [("S", "nothing")]
    return st.builds(
        lambda task, **rest: make(stage_name=task[0], task_name=task[1], **rest),
        task=st.sampled_from(names),
        attempt=_ATTEMPTS,
        **more,
    )
