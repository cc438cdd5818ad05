"""What a history means, told from the tables of the contract (§3), without the engine: a fold that objects.

`fold` gives what the rows must say after the last event, and every objection that it met on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.facts import Event, Facts, Instance

LIVE = ("SCHEDULED", "STARTED")
OPEN = ("PENDING", "SCHEDULED", "STARTED", "WAITING")
ENDED = ("COMPLETED", "ROLLED_BACK", "CANCELLED")
ROLLING = ("ROLLING_BACK", "ROLLBACK_FAILED")
UNDOING = ("COMPENSATING", "COMPENSATION_FAILED")

_MOVING = ("RUNNING", "FAILED")
INSTANCE: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    "WorkflowStarted": (("",), "RUNNING"),
    "WorkflowFailed": (("RUNNING",), "FAILED"),
    "WorkflowTimedOut": (_MOVING, "FAILED"),
    "WorkflowRecovered": (("FAILED",), "RUNNING"),
    "WorkflowSuspended": (_MOVING, "SUSPENDED"),
    "WorkflowResumed": (("SUSPENDED", "FAILED"), "RUNNING"),
    "WorkflowCompleted": (_MOVING, "COMPLETED"),
    "WorkflowCancelled": ((*_MOVING, "SUSPENDED"), "CANCELLED"),
    "RollbackStarted": ((*_MOVING, "SUSPENDED"), "ROLLING_BACK"),
    "RollbackFailed": (("ROLLING_BACK",), "ROLLBACK_FAILED"),
    "RollbackResumed": (("ROLLBACK_FAILED",), "ROLLING_BACK"),
    "RollbackCompleted": (("ROLLING_BACK",), "ROLLED_BACK"),
    "ReplayRequested": (("RUNNING", "FAILED", "COMPLETED"), "RUNNING-IF-ENDED"),
    "SignalReceived": (("RUNNING", "FAILED", "SUSPENDED", "ROLLING_BACK", "ROLLBACK_FAILED"), None),
}
STAGE: Mapping[str, tuple[tuple[str, ...], str]] = {
    "StageActivated": (("PENDING",), "ACTIVE"),
    "StageCompleted": (("ACTIVE",), "COMPLETED"),
    "StageSkipped": (("ACTIVE",), "SKIPPED"),
    "StageCancelled": (("PENDING", "ACTIVE"), "CANCELLED"),
    "StageReset": (("ACTIVE", "COMPLETED", "SKIPPED"), "PENDING"),
}
TASK: Mapping[str, tuple[tuple[str, ...], str]] = {
    "TaskScheduled": (("PENDING", "SCHEDULED", "STARTED", "WAITING", "FAILED"), "SCHEDULED"),
    "TaskStarted": (LIVE, "STARTED"),
    "TaskClaimed": (LIVE, "STARTED"),
    "TaskReleased": (LIVE, "SCHEDULED"),
    "TaskReassigned": (LIVE, "SCHEDULED"),
    "TaskCompleted": ((*LIVE, "WAITING", "FAILED", "CANCELLED", *UNDOING, "COMPENSATED"), "COMPLETED"),
    "TaskFailed": ((*LIVE, "WAITING"), "FAILED"),
    "RetryScheduled": (("FAILED",), "WAITING"),
    "TaskSkipped": ((*OPEN, "FAILED"), "SKIPPED"),
    "TaskCancelled": (OPEN, "CANCELLED"),
    "TaskReset": (("SCHEDULED", "STARTED", "WAITING", "COMPLETED", "FAILED", "SKIPPED"), "PENDING"),
    "SignalAwaited": (LIVE, "WAITING"),
    "StepWoken": (("WAITING",), "SCHEDULED"),
    "CompensationScheduled": (("COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "COMPENSATED", *UNDOING), "COMPENSATING"),
    "CompensationCompleted": (UNDOING, "COMPENSATED"),
    "CompensationFailed": (("COMPENSATING",), "COMPENSATION_FAILED"),
    "CompensationSkipped": (UNDOING, "COMPLETED"),
}
PHASES = {"pre": 0, "parallel": 1, "post": 2}
_ON_UNDOING = frozenset(
    {"TaskStarted", "TaskClaimed", "TaskReleased", "TaskReassigned", "RetryScheduled", "SignalAwaited", "StepWoken"}
)
_AFTER_THE_END = frozenset({"InputRefused", "ReplayRequested", "TaskCommented"})
_NO_MOVE = frozenset({"InputRefused", "TaskCommented", "TaskReturned"})


@dataclass(slots=True)
class Undoing:
    """The newest undoing of a task."""

    attempt: int = 0
    state: str = ""
    failures: int = 0
    undoes: int = 0
    claimed_by: str | None = None
    assigned_to: str | None = None
    signal: str | None = None


@dataclass(slots=True)
class Task:
    """A task, as its history tells."""

    says: Mapping[str, Any]
    stage: str
    position: int
    state: str = "PENDING"
    attempt: int = 0
    failures: int = 0
    spent: bool = False
    output: Any = None
    outcome: str | None = None
    error: Any = None
    assigned_to: str | None = None
    claimed_by: str | None = None
    signal: str | None = None
    done_attempt: int = 0
    done_order: int = 0
    results: dict[tuple[bool, int], str] = field(default_factory=dict)
    undone: list[int] = field(default_factory=list)
    undoing: Undoing = field(default_factory=Undoing)

    @property
    def name(self) -> str:
        """Give the name that people read."""
        return f"{self.stage}/{self.says['task_name']}"

    @property
    def done(self) -> bool:
        """Tell whether it counts as done for its children and its stage (contract 3.1)."""
        if self.state in ("COMPLETED", "SKIPPED"):
            return True
        return self.state == "FAILED" and self.spent and self.policy == "continue"

    @property
    def phase(self) -> str:
        """Tell in which phase of an activity it is; empty for a task of the template."""
        return str(self.says.get("_phase") or "")

    @property
    def policy(self) -> str:
        """Tell what follows when its attempts are spent."""
        return str(self.says.get("on_failure") or self.says["_default_policy"])

    @property
    def compensable(self) -> bool:
        """Tell whether a rollback would undo it."""
        return bool(self.says.get("compensate"))

    def at_work(self) -> bool:
        """Tell whether somebody may still answer its newest attempt."""
        return self.state in LIVE or self.signal is not None


@dataclass(slots=True)
class Sent:
    """A message that follows from an event."""

    event_name: str
    queue: str
    stage: str
    task: str
    attempt: int
    compensation: bool
    event: Event


@dataclass(slots=True)
class Folded:
    """An instance as its history tells, and what was wrong on the way: (invariant, what)."""

    state: str = ""
    context: Any = None
    business_status: str | None = None
    stages: dict[str, str] = field(default_factory=dict)
    phases: dict[str, str] = field(default_factory=dict)
    tasks: dict[tuple[str, str], Task] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    objections: list[tuple[str, str]] = field(default_factory=list)
    current_undoing: tuple[str, str] | None = None
    timed_out: bool = False

    def of_stage(self, stage: str) -> list[Task]:
        """Give the tasks of a stage."""
        return [task for (name, _), task in self.tasks.items() if name == stage]


def fold(facts: Facts, instance: Instance) -> Folded:
    """Fold a history event by event."""
    folding = _Folding(facts, instance)
    for event in instance.events:
        folding.take(event)
    return folding.now


class _Folding:
    def __init__(self, facts: Facts, instance: Instance) -> None:
        definition = facts.templates[instance.row.template_id].definition
        default = self.default = definition.get("on_failure") or "halt"
        self.now = Folded()
        self.order: list[str] = []
        self.event: Event
        position = 0
        for stage in sorted(definition["stages"], key=lambda one: one["stage_order"]):
            self.order.append(stage["stage_name"])
            self.now.stages[stage["stage_name"]] = "PENDING"
            for says in stage.get("tasks", ()):
                key = (stage["stage_name"], says["task_name"])
                self.now.tasks[key] = Task({**says, "_default_policy": default}, stage["stage_name"], position)
                position += 1

    def object(self, invariant: str, text: str) -> None:
        self.now.objections.append((invariant, f"{self.event}: {text}"))

    def take(self, event: Event) -> None:
        self.event = event
        if self.now.state in ENDED and event.name not in _AFTER_THE_END:
            self.object("S7", f"after the end ({self.now.state})")
        if event.name in INSTANCE:
            self._instance(event)
        elif event.name in STAGE:
            self._stage(event)
        elif event.name == "PhaseStarted":
            self._phase(event)
        elif event.name in TASK:
            task = self.now.tasks.get((event.stage or "", event.task or ""))
            if task is None:
                self.object("S7", "the template has no such task")
            elif event.data.get("compensation") and event.name in _ON_UNDOING:
                self._undoing(event, task)
            elif event.name.startswith("Compensation"):
                self._compensation(event, task)
            else:
                self._task(event, task)
        elif event.name == "TaskReturned":
            self._returned(event)
        elif event.name not in _NO_MOVE:
            self.object("S7", "nobody knows this event")

    # --- the instance ---

    def _instance(self, event: Event) -> None:
        sources, target = INSTANCE[event.name]
        now = self.now
        if now.state not in sources:
            self.object("S7", f"from {now.state or 'nothing'}")
        if event.name == "WorkflowStarted":
            now.context = event.data["context"]
        if event.name == "WorkflowCompleted":
            unfinished = [name for name, state in now.stages.items() if state not in ("COMPLETED", "SKIPPED")]
            if unfinished:
                self.object("S8", f"{', '.join(unfinished)} never ran to their end")
        if event.name == "RollbackCompleted" and (left := [task.name for task in self._to_undo()]):
            self.object("S15", f"{', '.join(left)} not undone")
        now.timed_out = event.name == "WorkflowTimedOut" or (
            now.timed_out and event.name not in ("WorkflowResumed", "WorkflowCompleted")
        )
        if target == "RUNNING-IF-ENDED":
            now.state = "RUNNING" if now.state == "COMPLETED" else now.state
        elif target is not None:
            now.state = target

    def _to_undo(self) -> list[Task]:
        return [task for task in self.now.tasks.values() if task.done_attempt and task.compensable]

    # --- stages ---

    def _stage(self, event: Event) -> None:
        name = event.stage or ""
        sources, target = STAGE[event.name]
        now = self.now
        was = now.stages.get(name)
        if was is None:
            self.object("S7", "the template has no such stage")
            return
        if was not in sources:
            self.object("S7", f"stage from {was}")
        if event.name == "StageActivated":
            earlier = self.order[: self.order.index(name)]
            if waiting := [one for one in earlier if now.stages[one] not in ("COMPLETED", "SKIPPED")]:
                self.object("S8", f"before {', '.join(waiting)} had ended")
            if active := [one for one, state in now.stages.items() if state == "ACTIVE"]:
                self.object("S8", f"beside {', '.join(active)}")
        if event.name in ("StageCompleted", "StageSkipped"):
            tasks = now.of_stage(name)
            if open_ := [task.name for task in tasks if not task.done]:
                self.object("S9", f"{', '.join(open_)} not done")
            skipped = bool(tasks) and all(task.state == "SKIPPED" for task in tasks)
            if skipped != (event.name == "StageSkipped"):
                self.object("S9", "skipped and completed are not the same")
        now.stages[name] = target
        if target == "PENDING":
            now.phases.pop(name, None)

    # --- tasks ---

    def _phase(self, event: Event) -> None:
        """Plugins become tasks of the stage; a phase begins when all in the one before are done."""
        name, phase, now = event.stage or "", event.data["phase"], self.now
        if now.stages.get(name) != "ACTIVE":
            self.object("S9", f"a phase begins while its stage is {now.stages.get(name)}")
        if now.state not in _MOVING:
            self.object("S9", f"a phase begins while {now.state}")
        if PHASES[phase] != (PHASES[now.phases[name]] + 1 if name in now.phases else 0):
            self.object("S8", f"{phase} after {now.phases.get(name)}")
        if open_ := [task.name for task in now.of_stage(name) if PHASES[task.phase] < PHASES[phase] and not task.done]:
            self.object("S9", f"{', '.join(open_)} not done")
        now.phases[name] = phase
        before: list[str] = []
        for plugin in event.data.get("plugins", ()):
            own, count = plugin["name"], 1
            while (name, own) in now.tasks:
                count += 1
                own = f"{plugin['name']} ({count})"
            says = {
                **plugin["task"], "task_name": own, "parent_task": before if phase != "parallel" else [],
                "_default_policy": self.default, "_phase": phase,
            }  # fmt: skip
            if not plugin["mandatory"]:
                says["on_failure"] = "continue"
            now.tasks[name, own] = Task(says, name, len(now.tasks))
            before = [own]

    def _task(self, event: Event, task: Task) -> None:
        sources, target = TASK[event.name]
        data, was = event.data, task.state
        if was not in sources:
            self.object("S7", f"task from {was}")
        # Of an older attempt's undoing that goes on while a late completion arrives (contract 3.1, late completion).
        task.state = was if event.name == "TaskCompleted" and was in UNDOING else target
        match event.name:
            case "TaskScheduled":
                self._scheduled(event, task, was)
            case "TaskCompleted":
                self._completed(event, task, was)
            case "TaskFailed":
                self._failed(event, task, was)
            case "RetryScheduled":
                if task.spent:
                    self.object("S10", "its attempts are spent")
            case "TaskSkipped" | "TaskCancelled":
                if event.name == "TaskSkipped" and not (data.get("condition") or data.get("reason")):
                    self.object("S8", "skipped without a condition or a reason")
                self._withdrawn(event, task, was)
                task.spent, task.signal = False, None
            case "TaskReset":
                self._withdrawn(event, task, was)
                task.failures, task.spent, task.claimed_by, task.signal = 0, False, None, None
            case "TaskClaimed":
                task.claimed_by = data["by"]
            case "TaskReleased":
                task.claimed_by = None
            case "TaskReassigned":
                task.claimed_by, task.assigned_to = None, data["assigned_to"]
            case "SignalAwaited":
                task.signal = data["name"]
            case "StepWoken":
                task.signal = None

    def _scheduled(self, event: Event, task: Task, was: str) -> None:
        now = self.now
        if now.state not in _MOVING:
            self.object("S9", f"scheduled while {now.state}")
        if now.stages[task.stage] != "ACTIVE":
            self.object("S9", f"its stage is {now.stages[task.stage]}")
        parents = [now.tasks[task.stage, name] for name in task.says.get("parent_task") or ()]
        if waiting := [parent.name for parent in parents if not parent.done]:
            self.object("S9", f"before {', '.join(waiting)}")
        if task.phase and task.phase != now.phases.get(task.stage):
            self.object("S9", f"in {task.phase}, while the stage is in {now.phases.get(task.stage)}")
        if event.attempt != task.attempt + 1:
            self.object("S10", f"attempt {event.attempt} after {task.attempt}")
        if was == "FAILED" and task.spent and "round" not in event.data:
            self.object("S10", "scheduled again although its attempts are spent")
        task.attempt = event.attempt or 0
        task.failures = 0 if "round" in event.data else task.failures
        task.spent, task.output, task.outcome, task.claimed_by, task.signal = False, None, None, None, None
        task.assigned_to = event.data.get("assigned_to")
        if queue := task.says.get("task_queue"):
            self._send(event, "StartTask", queue, task.attempt, compensation=False)

    def _completed(self, event: Event, task: Task, was: str) -> None:
        data, now = event.data, self.now
        by_hand, late = bool(data.get("by_hand")), bool(data.get("late"))
        self._judge_attempt(event, task, by_hand=by_hand)
        if was == "FAILED" and not by_hand:
            self.object("S14", "completed after it had failed")
        if late != (now.state in ROLLING) or (was in ("CANCELLED", "COMPENSATED", *UNDOING)) != late:
            self.object("S14", f"completed while {now.state}, from {was}")
        if not by_hand:
            self._first_result(event, task, "completed")
        if by_hand and was in (*LIVE, "WAITING"):
            self._withdrawn(event, task, was)
        output = data.get("output")
        if output:
            now.context = {**now.context, **output}
        if task.says.get("business_status") is not None and not late:
            now.business_status = task.says["business_status"]
        task.output, task.outcome, task.error = output, data.get("outcome"), None
        task.claimed_by = data.get("by", task.claimed_by)
        task.failures, task.spent, task.signal = 0, False, None
        task.done_attempt, task.done_order = task.attempt, event.sequence

    def _failed(self, event: Event, task: Task, was: str) -> None:
        data = event.data
        by_hand = bool(data.get("by_hand"))
        self._judge_attempt(event, task, by_hand=by_hand)
        if self.now.state in ROLLING:
            self.object("S14", f"failed while {self.now.state}")
        if not by_hand:
            self._first_result(event, task, "failed")
        elif was in (*LIVE, "WAITING"):
            self._withdrawn(event, task, was)
        task.failures += 1
        allowed = (task.says.get("retry") or {}).get("max_attempts", 1)
        if not data["spent"] and task.failures >= allowed:
            self.object("S10", f"{task.failures} of {allowed} attempts have failed, spent: {data['spent']}")
        task.spent, task.error, task.outcome = data["spent"], data["error"], data.get("outcome")
        task.claimed_by, task.signal = data.get("by", task.claimed_by), None

    def _returned(self, event: Event) -> None:
        task = self.now.tasks[event.stage or "", event.task or ""]
        self._first_result(event, task, "returned")
        task.outcome, task.claimed_by = event.data["outcome"], event.data["by"]

    def _judge_attempt(self, event: Event, task: Task, *, by_hand: bool) -> None:
        if event.attempt != task.attempt:
            self.object("S10" if by_hand else "S14", f"attempt {event.attempt}, while {task.attempt} is the newest")

    def _first_result(self, event: Event, task: Task, result: str, *, compensation: bool = False) -> None:
        key = compensation, event.attempt or 0
        if key in task.results:
            self.object("S14", f"{result}, after the attempt was {task.results[key]}")
        task.results.setdefault(key, result)

    def _withdrawn(self, event: Event, task: Task, was: str) -> None:
        """A live attempt is taken back from whoever had it: told to its queue, unless a person has just answered."""
        answered = task.results.get((False, task.attempt)) == "returned" or (was == "WAITING" and not task.signal)
        if was not in (*LIVE, "WAITING") or answered:
            return
        if event.data.get("withdrew") != task.attempt:
            self.object("S11", f"attempt {task.attempt} was live, the event says {event.data.get('withdrew')}")
        if queue := task.says.get("task_queue"):
            self._send(event, "CancelTask", queue, task.attempt, compensation=False)

    # --- undoing ---

    def _undoing(self, event: Event, task: Task) -> None:
        undoing, data = task.undoing, event.data
        if task.state != "COMPENSATING":
            self.object("S7", f"{event.name} of an undoing from {task.state}")
        match event.name:
            case "TaskStarted":
                undoing.state = "STARTED"
            case "TaskClaimed":
                undoing.state, undoing.claimed_by = "STARTED", data["by"]
            case "TaskReleased":
                undoing.state, undoing.claimed_by = "SCHEDULED", None
            case "TaskReassigned":
                undoing.state, undoing.claimed_by, undoing.assigned_to = "SCHEDULED", None, data["assigned_to"]
            case "RetryScheduled":
                undoing.state = "WAITING"
            case "SignalAwaited":
                if undoing.state not in LIVE:
                    self.object("S7", f"{event.name} of an undoing that is {undoing.state}")
                undoing.state, undoing.signal = "WAITING", data["name"]
            case "StepWoken":
                if undoing.signal != data["name"]:
                    self.object("S7", f"woken by {data['name']}, while it waits for {undoing.signal}")
                undoing.state, undoing.signal = "SCHEDULED", None

    def _compensation(self, event: Event, task: Task) -> None:
        sources, target = TASK[event.name]
        undoing, data, now = task.undoing, event.data, self.now
        how = task.says.get("compensate") or {}
        if task.state not in sources:
            self.object("S7", f"task from {task.state}")
        if now.state != "ROLLING_BACK":
            self.object("S15", f"undone while {now.state}")
        key = (task.stage, task.says["task_name"])
        if event.name == "CompensationScheduled":
            self._compensate(event, task, key, how)
        else:
            if event.attempt != undoing.attempt:
                self.object("S14", f"undoing {event.attempt}, while {undoing.attempt} is the newest")
            # As StartTask: what was live is told that it is not wanted any more.
            if undoing.state in LIVE and (event.name == "CompensationSkipped" or data.get("by_hand")):
                if data.get("withdrew") != undoing.attempt:
                    self.object("S11", f"undoing {undoing.attempt} was live, the event says {data.get('withdrew')}")
                if queue := how.get("task_queue"):
                    self._send(event, "CancelTask", queue, undoing.attempt, compensation=True)
        if event.name in ("CompensationCompleted", "CompensationSkipped"):
            if event.name == "CompensationCompleted":
                if not data.get("by_hand"):
                    self._first_result(event, task, "undone", compensation=True)
                if undoing.undoes in task.undone:
                    self.object("S15", f"attempt {undoing.undoes} is undone a second time")
                task.undone.append(undoing.undoes)
            task.done_attempt = 0 if task.done_attempt == undoing.undoes else task.done_attempt
            undoing.state = "COMPLETED" if event.name == "CompensationCompleted" else "SKIPPED"
            undoing.claimed_by, now.current_undoing = data.get("by", undoing.claimed_by), None
        elif event.name == "CompensationFailed":
            self._first_result(event, task, "not undone", compensation=True)
            undoing.failures += 1
            undoing.state, undoing.signal = "FAILED", None
            undoing.claimed_by = data.get("by", undoing.claimed_by)
            allowed = (how.get("retry") or {}).get("max_attempts", 1)
            if not data["spent"] and undoing.failures >= allowed:
                self.object("S10", f"{undoing.failures} of {allowed} attempts to undo failed, spent: {data['spent']}")
            target = target if data["spent"] else "COMPENSATING"
        task.state = target

    def _compensate(self, event: Event, task: Task, key: tuple[str, str], how: Mapping[str, Any]) -> None:
        undoing, data, now = task.undoing, event.data, self.now
        if event.attempt != undoing.attempt + 1:
            self.object("S10", f"undoing {event.attempt} after {undoing.attempt}")
        if now.current_undoing not in (None, key):
            self.object("S15", f"while {'/'.join(now.current_undoing or ())} is being undone")
        if now.current_undoing is None:
            newest = max(self._to_undo(), key=lambda one: one.done_order, default=None)
            if newest is not task:
                self.object("S15", f"{newest.name if newest else 'nothing'} was to be undone next")
            if data["undoes_attempt"] != task.done_attempt:
                self.object("S15", f"undoes attempt {data['undoes_attempt']}, {task.done_attempt} was completed")
        now.current_undoing = key
        undoing.attempt, undoing.state, undoing.undoes = event.attempt or 0, "SCHEDULED", data["undoes_attempt"]
        undoing.failures = 0 if "round" in data else undoing.failures
        undoing.claimed_by, undoing.assigned_to, undoing.signal = None, data.get("assigned_to"), None
        if queue := how.get("task_queue"):
            self._send(event, "CompensateTask", queue, undoing.attempt, compensation=True)

    def _send(self, event: Event, name: str, queue: str, attempt: int, *, compensation: bool) -> None:
        self.now.sent.append(Sent(name, queue, event.stage or "", event.task or "", attempt, compensation, event))


def waits(folded: Folded) -> Iterator[Task]:
    """Give the tasks that are ready, and that nobody was given: a join that did not fire."""
    if folded.state not in _MOVING:
        return
    for task in folded.tasks.values():
        if task.state == "PENDING" and folded.stages[task.stage] == "ACTIVE":
            parents = [folded.tasks[task.stage, name] for name in task.says.get("parent_task") or ()]
            if task.phase and task.phase != folded.phases.get(task.stage):
                continue
            if all(parent.done for parent in parents):
                yield task
