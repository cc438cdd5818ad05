"""Templates, commands and stories for tests: given a history, when a command, then these events.

Commands name their task `STAGE/task`, or `task` alone in the stage `S`. A story plays commands through the pure engine,
and after every event it counts again, from scratch, what the engine counts as it goes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests import law
from workflows.definitions.parsing import parse_template
from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import commands as c
from workflows.engine import decide as engine
from workflows.engine import outgoing
from workflows.engine.decision import Accepted, Decision, Duplicate, Rejected
from workflows.engine.draft import Draft
from workflows.engine.events import Event
from workflows.engine.plugins import ExcludedPlugin, Expected, ExpectedPlugin, Phase
from workflows.engine.snapshot import Snapshot, Task

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
FINANCE = frozenset({"finance"})


# --- Templates ----------------------------------------------------------------------------------------------------


def workflow(*stages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a template of these stages; bare tasks make one stage, S. `orders` follow the order of the arguments."""
    if stages and "task_name" in stages[0]:
        stages = (stage("S", *stages),)
    numbered = [{"stage_order": order, **one} for order, one in enumerate(stages)]
    return {"workflow_name": "Workflow", "component_name": "COMPONENT", "stages": numbered, **more}


def stage(name: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a stage."""
    return {"stage_name": name, **({"tasks": list(tasks)} if tasks else {}), **more}


def activity(name: str = "PROCESS", **more: Any) -> dict[str, Any]:
    """Make a stage whose work is done by plugins."""
    return {"stage_name": name, "kind": "activity", **more}


def plugin(task: Mapping[str, Any], *, optional: bool = False, **labels: str) -> ExpectedPlugin:
    """Make a plugin of a task: `plugin(service("scan"), system="OCR")`."""
    return ExpectedPlugin(task["task_name"], not optional, task, labels)


def excluded(name: str, *, optional: bool = False, **labels: str) -> ExcludedPlugin:
    """Make a plugin that its filter policy keeps out."""
    return ExcludedPlugin(name, not optional, labels)


Planted = Mapping[str, Sequence[ExpectedPlugin | ExcludedPlugin]]
"""Who takes part in which phase, of every activity."""


def expected_of(planted: Planted, phase: str) -> Expected:
    """Tell who takes part in a phase, and who is kept out."""
    named = planted.get(phase, ())
    return Expected(
        tuple(one for one in named if isinstance(one, ExpectedPlugin)),
        tuple(one for one in named if isinstance(one, ExcludedPlugin)),
    )


def service(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    """Make a task that a service does; its queue is `NAME_queue`."""
    return {"task_name": name, "task_type": "SERVICE", "task_queue": f"{name}_queue", **_parents(parents), **more}


def human(name: str, *parents: str, to: str | None = "finance", **more: Any) -> dict[str, Any]:
    """Make a task that a person does."""
    assigned = {"assigned_to": to} if to else {}
    return {"task_name": name, "task_type": "HUMAN", **assigned, **_parents(parents), **more}


def step(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    """Make a task that a Python step does."""
    return {"task_name": name, "task_type": "STEP", "step": f"steps.{name}", **_parents(parents), **more}


def undo(queue: str = "undo_queue", **more: Any) -> dict[str, Any]:
    """Say that a task is undone by a service: `service("pay", **undo())`."""
    return {"compensate": {"task_queue": queue, **more}}


def retry(attempts: int = 3, delay: float = 0, **more: Any) -> dict[str, Any]:
    """Say how often a task is tried, without jitter: `service("pay", **retry(3, 10))`."""
    return {"retry": {"max_attempts": attempts, "delay_seconds": delay, "jitter": False, **more}}


def _parents(parents: Iterable[str]) -> dict[str, Any]:
    return {"parent_task": list(parents)} if parents else {}


def definition_of(template: Mapping[str, Any]) -> WorkflowDefinition:
    """Read a template, which must be faultless."""
    return parse_template(template).definition


# --- Commands -----------------------------------------------------------------------------------------------------


def on(task: str) -> dict[str, str]:
    """Say which task is meant, for a command of `workflows.engine.commands`."""
    stage_name, _, task_name = task.rpartition("/")
    return {"stage_name": stage_name or "S", "task_name": task_name}


def started(task: str, **more: Any) -> c.Command:
    return c.BeginTask(**on(task), **more)


def completed(task: str, **more: Any) -> c.Command:
    return c.CompleteTask(**on(task), **more)


def failed(task: str, code: str = "broken", **more: Any) -> c.Command:
    return c.FailTask(**on(task), error={"code": code}, **more)


def pending(task: str, **more: Any) -> c.Command:
    return c.RetryTask(**on(task), **more)


def undone(task: str, **more: Any) -> c.Command:
    return c.CompleteTask(**on(task), compensation=True, **more)


def not_undone(task: str, **more: Any) -> c.Command:
    return c.FailTask(**on(task), compensation=True, error={"code": "broken"}, **more)


def operator_retries(task: str, **more: Any) -> c.Command:
    return c.RetryTask(**on(task), reason="why", **more)


def operator_skips(task: str, **more: Any) -> c.Command:
    return c.SkipTask(**on(task), reason="why", **more)


def operator_completes(task: str, **more: Any) -> c.Command:
    return c.CompleteTaskByHand(**on(task), reason="why", **more)


def operator_fails(task: str, **more: Any) -> c.Command:
    return c.FailTaskByHand(**on(task), reason="why", **more)


def replayed(task: str, **more: Any) -> c.Command:
    return c.ReplayTask(**on(task), reason="why", **more)


def stage_replayed(name: str) -> c.Command:
    return c.ReplayStage(stage_name=name, reason="why")


def claimed(task: str, by: str = "fred", **more: Any) -> c.Command:
    return c.ClaimTask(**on(task), **_by(by, more))


def released(task: str, by: str = "fred", **more: Any) -> c.Command:
    return c.ReleaseTask(**on(task), **_by(by, more))


def reassigned(task: str, to: str, by: str = "olivia", **more: Any) -> c.Command:
    return c.ReassignTask(**on(task), assigned_to=to, reason="why", **_by(by, {"operator": True, **more}))


def decided(task: str, outcome: str | None = None, by: str = "fred", **more: Any) -> c.Command:
    return c.DecideTask(**on(task), outcome=outcome, **_by(by, more))


def commented(task: str, comment: str = "hm", by: str = "fred", **more: Any) -> c.Command:
    return c.CommentTask(**on(task), comment=comment, **_by(by, more))


def _by(by: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {"by": by, "groups": FINANCE if by in ("fred", "fiona") else frozenset(), **more}


def signalled(name: str, payload: Any = None) -> c.Command:
    return c.SendSignal(name=name, payload=payload)


def awaits(task: str, name: str, **more: Any) -> c.Command:
    return c.AwaitSignal(**on(task), name=name, **more)


SUSPEND = c.SuspendWorkflow(reason="audit")
RESUME = c.ResumeWorkflow()
CANCEL = c.CancelWorkflow(reason="mistake")
ROLL_BACK = c.RollBackWorkflow(reason="mistake")


# --- Stories ------------------------------------------------------------------------------------------------------


class People:
    """The world of a story: `fred`, `fiona` (finance), `mona`, `olivia`; and no luck at all, or as much as is said."""

    def __init__(self, *, luck: float = 0.0) -> None:
        self.luck = luck
        self.plugins: Planted = {}
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []

    def assignee_kind(self, name: str) -> str:
        """Tell who bears the name."""
        if name in ("finance", "managers"):
            return "group"
        return "user" if name in ("fred", "fiona", "mona", "olivia") else ""

    def chance(self) -> float:
        """Give the luck."""
        return self.luck

    def expected_plugins(self, activity: str, phase: Phase, attributes: Mapping[str, Any]) -> Expected:
        """Tell who is planted, and keep what was asked."""
        self.asked.append((activity, str(phase), attributes))
        return expected_of(self.plugins, phase)


class Story:
    """An instance in the pure engine, alone."""

    now: Snapshot

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        by: str = "ada",
        luck: float = 0,
        plugins: Planted | None = None,
    ) -> None:
        self.definition = definition_of(template)
        self.world = People(luck=luck)
        self.world.plugins = plugins or {}
        self.at = NOON
        self.log: list[tuple[dt.datetime, Event]] = []
        self.sent: list[outgoing.Outgoing] = []
        self.answer: Decision | None = None
        self._follower: Draft | None = None
        begun = engine.start(
            self.definition,
            c.StartWorkflow(business_ref_no="REF", context=context or {}),
            instance_id="I",
            started_by=by,
            version=1,
            at=self.at,
            world=self.world,
        )
        self._happened(begun)

    # --- when ---

    def when(self, command: c.Command, *, after: float = 0) -> list[str]:
        """Let something be asked, so many seconds later; it gives what happened. A refusal is in `refused`."""
        self.at += dt.timedelta(seconds=after)
        self.answer = engine.decide(self.definition, self.now, command, at=self.at, world=self.world)
        if isinstance(self.answer, Accepted):
            return self._happened(self.answer)
        return []

    def later(self, seconds: float) -> list[str]:
        """Let time pass and every clock go off that is due; it gives what happened."""
        self.at += dt.timedelta(seconds=seconds)
        happened: list[str] = []
        for command in self.clocks():
            answer = engine.decide(self.definition, self.now, command, at=self.at, world=self.world)
            assert isinstance(answer, Accepted), f"a clock is never refused, but {answer}"
            happened += self._happened(answer)
        return happened

    def clocks(self) -> list[c.Command]:
        """Give the clocks that are due."""
        due: list[c.Command] = []
        for position, task in enumerate(self.now.tasks):
            for one, compensation in ((task, False), (task.compensation, True)):
                if one is None:
                    continue
                if one.timeout_at is not None and one.timeout_at <= self.at:
                    due.append(c.ElapseTaskTimeout(position, one.attempt, compensation))
                if one.retry_at is not None and one.retry_at <= self.at:
                    due.append(c.ElapseRetry(position, one.attempt, compensation))
        if self.now.timeout_at is not None and self.now.timeout_at <= self.at:
            due.append(c.ElapseInstanceTimeout())
        return due

    def _happened(self, accepted: Accepted) -> list[str]:
        if self._follower is None:
            self._follower = Draft(self.definition, None, at=self.at, instance_id="I")
        follower = self._follower
        follower.at = self.at
        for event in accepted.events:
            before = follower.freeze()
            follower.apply(event)
            law.check_step(self.definition, before, event, follower.freeze(), said=self.log)
            self.log.append((self.at, event))
        self.now = accepted.snapshot
        self.definition = self.now.grown or self.definition
        assert follower.freeze() == self.now, "the fold of the log is not what the decision said"
        law.check_at_rest(self.definition, self.now)
        messages = list(outgoing.messages(self.definition, self.now, accepted.events))
        law.check_messages(self.definition, accepted.events, messages)
        self.sent += messages
        return [event.name for event in accepted.events]

    # --- then ---

    def __getitem__(self, task: str) -> Task:
        stage_name, _, task_name = task.rpartition("/")
        return self.now.tasks[self.definition.task_positions[stage_name or "S", task_name]]

    @property
    def refused(self) -> str | None:
        """Give the code of the refusal, `duplicate`, or None when it was carried out."""
        match self.answer:
            case Rejected(code):
                return code
            case Duplicate():
                return "duplicate"
        return None

    @property
    def state(self) -> str:
        """Give the instance's state."""
        return str(self.now.state)

    @property
    def states(self) -> dict[str, str]:
        """Give the states of all tasks, by their short names."""
        return {
            task.task_name: str(state.state) for task, state in zip(self.definition.tasks, self.now.tasks, strict=True)
        }

    @property
    def stages(self) -> dict[str, str]:
        """Give the states of all stages."""
        return {
            stage.stage_name: str(state.state)
            for stage, state in zip(self.definition.stages, self.now.stages, strict=True)
        }

    @property
    def history(self) -> list[str]:
        """Give the names of all that happened."""
        return [event.name for _, event in self.log]

    def last(self, name: str) -> Event:
        """Give the newest event of that name."""
        return next(event for _, event in reversed(self.log) if event.name == name)

    def messages(self, *, since: int = 0) -> list[str]:
        """Give what was sent, as `StartTask a#1`."""
        return [
            f"{one.event_name} {self.definition.tasks[one.position].task_name}#{one.attempt}"
            for one in self.sent[since:]
        ]


def given(template: Mapping[str, Any], *commands: c.Command, **how: Any) -> Story:
    """Begin a story with commands that are all carried out."""
    story = Story(template, **how)
    for command in commands:
        story.when(command)
        assert story.refused is None, f"{command} was refused: {story.answer}"
    return story
