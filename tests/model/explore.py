"""Every way that small templates can go, step by step, in the engine and in the model: `python -m tests.model.explore`.

Breadth first, with hashing. Every input is tried in every state, on both sides, and both must agree; on the way the
rules are checked that must hold whatever happens (S7-S11, S14, S15 and L1 of the fault harness), on the model alone.
An instance whose tasks have all been tried more often than `ATTEMPTS` says is looked at, but not followed further.
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests import builders as b
from tests.model import bridge, model
from tests.model.twin import Disagreement, numbered
from workflows.definitions.schema import TaskKind, WorkflowDefinition
from workflows.engine import commands as c
from workflows.engine import decide as engine
from workflows.engine import outgoing
from workflows.engine.decision import Accepted
from workflows.engine.snapshot import Snapshot

ATTEMPTS = 2

_CHOICES = [{"name": "approve"}, {"name": "reject", "effect": "fail"}]
_BACK = [*_CHOICES, {"name": "back", "effect": "return", "return_to": "A/a"}]
_AGAIN = {"max_attempts": 2, "delay_seconds": 10, "jitter": False}

TEMPLATES: dict[str, dict[str, Any]] = {
    "a chain that rolls back": b.workflow(
        b.stage("A", b.service("a", **b.undo(retry=_AGAIN))),
        b.stage("B", b.service("b", **b.undo(timeout_seconds=30))),
        b.stage("C", b.service("c", on_failure="rollback", **b.retry(2, 10))),
    ),
    "a join": b.workflow(
        b.stage("A", b.service("a", **b.retry(2, 0)), b.service("b", timeout_seconds=30), b.service("c", "a", "b")),
    ),
    "parallel work that is undone": b.workflow(
        b.stage("A", b.service("a", **b.undo()), b.service("b", **b.undo())),
        b.stage("B", b.service("c", on_failure="rollback")),
    ),
    "conditions, an empty stage, failures that do not matter": b.workflow(
        b.stage("A", b.service("a", on_failure="continue"), b.service("b", "a", when={"==": [{"var": "ok"}, 1]})),
        b.stage("B"),
        b.stage("C", b.service("c", when={"missing": ["ok"]})),
    ),
    "people": b.workflow(
        b.stage("A", b.human("a", outcomes=_CHOICES, compensate={"assigned_to": "finance"})),
        b.stage("B", b.human("b", outcomes=_BACK, task_queue="notify_queue", timeout_seconds=30)),
    ),
    "steps that wait": b.workflow(
        b.stage("A", b.step("a", timeout_seconds=30), b.step("b", "a", compensate={"step": "steps.undo"}, **b.retry(2, 5))),
    ),
    "a limit for all": b.workflow(
        b.stage("A", b.service("a", **b.undo())), b.stage("B", b.service("b")), timeout_seconds=60
    ),
    "a limit that rolls back": b.workflow(
        b.stage("A", b.service("a", **b.undo())), b.stage("B", b.service("b", on_failure="continue")),
        timeout_seconds=60, on_failure="rollback",
    ),
}  # fmt: skip

_INSTANCE_MOVES = {
    ("RUNNING", "FAILED"), ("FAILED", "RUNNING"), ("SUSPENDED", "RUNNING"), ("SUSPENDED", "FAILED"),
    ("RUNNING", "SUSPENDED"), ("FAILED", "SUSPENDED"), ("ROLLING_BACK", "ROLLBACK_FAILED"),
    ("ROLLBACK_FAILED", "ROLLING_BACK"), ("ROLLING_BACK", "ROLLED_BACK"), ("ROLLBACK_FAILED", "ROLLED_BACK"),
    *((before, after) for before in model.GOING_ON for after in ("COMPLETED", "CANCELLED", "ROLLING_BACK")),
    *((before, after) for before in model.GOING_ON for after in ("ROLLED_BACK",)),
    ("COMPLETED", "RUNNING"),
}  # fmt: skip


class Node(NamedTuple):
    """An instance on both sides, at a moment."""

    number: int
    state: dict[str, Any]
    now: Snapshot
    at: dt.datetime


class Found(NamedTuple):
    """What an exploration came to."""

    states: int
    transitions: int
    accepted: int
    looked_at_only: int
    complete: bool
    ends: Counter[str]


class Explorer:
    """All states of one template that can be reached."""

    def __init__(self, template: dict[str, Any]) -> None:
        self.template = template
        self.definition: WorkflowDefinition = b.definition_of(template)
        self.world = b.People()
        self.seen: dict[Any, int] = {}
        self.helped: dict[int, list[int]] = {}
        self.waits: set[int] = set()
        self.expanded: set[int] = set()
        self.transitions = self.accepted = self.cut = 0
        self.ends: Counter[str] = Counter()
        self.commands = list(self._alphabet())

    # --- going everywhere ---

    def explore(self, most: int) -> Found:
        """Go everywhere, or as far as so many states."""
        queue = deque([self._first()])
        while queue and len(self.seen) < most:
            node = queue.popleft()
            if self._is_deep(node.state):
                self.cut += 1
                self.waits.add(node.number)  # Beyond this nothing is known.
                continue
            self.expanded.add(node.number)
            queue.extend(self._expand(node))
        self.waits.update(node.number for node in queue)
        self._check_that_it_ends()
        return Found(len(self.seen), self.transitions, self.accepted, self.cut, not queue, self.ends)

    def _first(self) -> Node:
        begun = engine.start(
            self.definition, c.StartWorkflow("REF"), instance_id="I", started_by="ada", version=1, at=b.NOON,
            world=self.world,
        )  # fmt: skip
        state, answer, sent = model.step(self.template, None, {"do": "start", "by": "ada"}, 0)
        assert state is not None
        assert isinstance(begun, Accepted)
        nothing = {**state, "state": "RUNNING", "tasks": dict.fromkeys(state["tasks"], model.NEW_TASK)}
        state = self._compare("start", "applied", answer, begun, nothing, state, sent)
        return Node(self._number(state, b.NOON), state, begun.snapshot, b.NOON)

    def _expand(self, node: Node) -> Iterator[Node]:
        for command, moment in [*((command, node.at) for command in self.commands), *self._clocks(node)]:
            if isinstance(command, c.AwaitSignal) and not self._has_its_turn(command, node):
                continue
            self.transitions += 1
            at = max(node.at, moment)
            decision = engine.decide(self.definition, node.now, command, at=at, world=self.world)
            ask = bridge.asked(self.definition, command)
            state, answer, sent = model.step(self.template, node.state, ask, bridge.seconds(at))
            assert state is not None
            said = bridge.answer_of(decision)
            if not isinstance(decision, Accepted) and said == answer:
                continue
            if said == "nothing" and state is node.state:
                continue
            self.accepted += 1
            state = self._compare(command, said, answer, decision, node.state, state, sent)
            check_step(self.template, node.state, ask, state, sent)
            known = len(self.seen)
            number = self._number(state, at)
            if ask["do"] in ("completed", "due", "signal", "decide"):
                self.helped.setdefault(number, []).append(node.number)
            if number == known:
                yield Node(number, state, decision.snapshot, at)

    def _has_its_turn(self, command: c.AwaitSignal, node: Node) -> bool:
        """Tell whether a step may speak: only while it has its turn, and never from outside."""
        task = node.state["tasks"][command.stage_name, command.task_name]
        return task["state"] == "STARTED" and node.state["state"] in ("RUNNING", "FAILED")

    def _compare(
        self, command: Any, said: str, answer: str, decision: Any, before: Any, state: Any, sent: Any
    ) -> dict[str, Any]:
        faults = []
        if said != answer and {said, answer} != {"nothing", "applied"}:
            faults.append(f"the engine answers {said}, the model {answer}")
        if isinstance(decision, Accepted):
            state, misses = bridge.settle_luck(state, self.definition, decision.snapshot)
            in_engine = bridge.seen_in_the_engine(self.definition, decision.snapshot)
            faults += misses + bridge.differences(in_engine, bridge.seen_in_the_model(state))
            told = outgoing.messages(self.definition, decision.snapshot, decision.events)
            messages = [bridge.message_of(one.body, one.queue) for one in told]
            faults += bridge.differences(numbered(messages), numbered(sent), "message ")
        if faults:
            raise Disagreement(
                "\n".join([*faults, f"when {command} is asked of", str(bridge.seen_in_the_model(before))])
            )
        return state

    # --- what is asked ---

    def _alphabet(self) -> Iterator[c.Command]:
        for task in self.definition.tasks:
            key = (task.stage_name, task.task_name)
            undoable = [False, True] if task.compensate else [False]
            for undoing in undoable:
                about = {"compensation": undoing}
                yield c.CompleteTask(*key, **about, output=None if undoing else {"ok": 1})
                yield c.FailTask(*key, **about, error={"code": "broken"})
                yield c.CompleteTask(*key, attempt=1, **about)
                yield c.RetryTask(*key, **about)
                if task.kind is not TaskKind.HUMAN and not undoing:
                    yield c.BeginTask(*key, **about)
                if task.kind is TaskKind.HUMAN:
                    who: dict[str, Any] = {"by": "fred", "groups": b.FINANCE, **about}
                    yield c.ClaimTask(*key, **who)
                    yield c.ReleaseTask(*key, **who)
                    for outcome in [] if undoing else task.outcomes:
                        yield c.DecideTask(*key, **who, outcome=outcome.name, comment="because")
                    if undoing:
                        yield c.DecideTask(*key, **who)
            if task.kind is TaskKind.STEP:
                yield c.AwaitSignal(*key, name="paid")
            yield c.CompleteTaskByHand(*key, reason="why")
            yield c.SkipTask(*key, reason="why")
            yield c.FailTaskByHand(*key, reason="why")
            yield c.ReplayTask(*key, reason="why")
        if any(task.kind is TaskKind.STEP for task in self.definition.tasks):
            yield c.SendSignal("paid")
        yield c.ReplayStage(self.definition.stages[0].stage_name, "why")
        yield c.SuspendWorkflow()
        yield c.ResumeWorkflow()
        yield c.CancelWorkflow("why")
        yield c.RollBackWorkflow("why")

    def _clocks(self, node: Node) -> Iterator[tuple[c.Command, dt.datetime]]:
        for position, task in enumerate(node.now.tasks):
            for one, compensation in ((task, False), (task.compensation, True)):
                if one is not None and one.timeout_at is not None:
                    yield c.ElapseTaskTimeout(position, one.attempt, compensation), one.timeout_at
                if one is not None and one.retry_at is not None:
                    yield c.ElapseRetry(position, one.attempt, compensation), one.retry_at
        if node.now.timeout_at is not None:
            yield c.ElapseInstanceTimeout(), node.now.timeout_at

    # --- what is the same ---

    def _number(self, state: dict[str, Any], at: dt.datetime) -> int:
        key = _frozen(state, bridge.seconds(at))
        known = self.seen.get(key)
        if known is not None:
            return known
        number = self.seen[key] = len(self.seen)
        check_state(self.template, state)
        if state["state"] in model.ENDED:
            self.ends[state["state"]] += 1
        if state["state"] in (*model.ENDED, "SUSPENDED", "FAILED", "ROLLBACK_FAILED"):
            self.waits.add(number)  # It has ended, or it waits for an operator.
        return number

    def _is_deep(self, state: dict[str, Any]) -> bool:
        return any(task[side]["attempt"] > ATTEMPTS for task in state["tasks"].values() for side in ("run", "undo"))

    def _check_that_it_ends(self) -> None:
        """L1: where services answer, people decide and clocks go off, all comes to an end, or waits for an operator."""
        reached, queue = set(self.waits), deque(self.waits)
        while queue:
            for before in self.helped.get(queue.popleft(), ()):
                if before not in reached:
                    reached.add(before)
                    queue.append(before)
        stuck = self.expanded - reached
        assert not stuck, f"{len(stuck)} states lead nowhere"


def _frozen(state: dict[str, Any], at: float) -> Any:
    """What tells states apart: moments count from now, and of completions only the order matters."""
    order = sorted(task["completed"][0] for task in state["tasks"].values() if task["completed"])

    def job(it: dict[str, Any]) -> Any:
        retry_at = it["retry_at"] and max(0, it["retry_at"][1] - at)
        timeout_at = max(0, it["timeout_at"] - at) if it["live"] else None
        rest = tuple(it[name] for name in ("attempt", "live", "failures", "result", "again", "claimed_by", "awaits"))
        return retry_at, timeout_at, it["assigned_to"] if it["live"] else None, str(it["error"]), rest

    tasks = tuple(
        (task["state"], str(task["output"]), task["outcome"], task["withdrawn"], job(task["run"]), job(task["undo"]),
         task["completed"] and (order.index(task["completed"][0]), task["completed"][1]),
         task["undoing"] and task["undoing"] == task["completed"])
        for task in state["tasks"].values()
    )  # fmt: skip
    own = (state["state"], state["timed_out"], max(0, state["ends_by"] - at), str(state["context"]))
    return own, tuple(state["stages"].values()), tuple(state["signals"].items()), state["deciders"][-1:], tasks


# --- the rules that hold whatever happens -------------------------------------------------------------------------


def _is_done(template: dict[str, Any], spec: dict[str, Any], task: dict[str, Any]) -> bool:
    continues = (spec.get("on_failure") or template.get("on_failure")) == "continue"
    return task["state"] in ("COMPLETED", "SKIPPED") or (
        continues and task["state"] == "FAILED" and not task["run"]["retry_at"]
    )


def check_state(template: dict[str, Any], state: dict[str, Any]) -> None:
    """Check S8, S9, S10, S15 of one state, and that it waits for something (L1)."""
    now, tasks = state["state"], state["tasks"]
    plan = {(s["stage_name"], t["task_name"]): t for s in template["stages"] for t in s.get("tasks", ())}
    done = {key: _is_done(template, plan[key], task) for key, task in tasks.items()}
    stages = list(state["stages"].items())
    if now in model.GOING_ON:
        opened = [name for name, it in stages if it == "ACTIVE"]
        assert len(opened) == 1, "S8: not one stage is active"
        behind = [it for name, it in stages[: [name for name, _ in stages].index(opened[0])]]
        assert set(behind) <= {"COMPLETED", "SKIPPED"}, "S8: a stage was skipped"
        assert now == "SUSPENDED" or not all(done[key] for key in tasks if key[0] == opened[0]), (
            "S9: a stage was forgotten"
        )
    for (stage, name), task in tasks.items():
        run, undo, key = task["run"], task["undo"], (stage, name)
        parents = [done[stage, parent] for parent in plan[key].get("parent_task", ())]
        if now in model.GOING_ON and task["state"] in model.UNDER_WAY:
            assert state["stages"][stage] == "ACTIVE", "S9: a task runs outside its stage"
            assert all(parents), "S9: a task runs before its parents are done"
        if now in ("RUNNING", "FAILED") and state["stages"][stage] == "ACTIVE" and all(parents):
            assert task["state"] != "PENDING", "L1: a task that is ready was left"
        live = task["state"] in ("SCHEDULED", "STARTED") or (task["state"] == "WAITING" and run["awaits"] is not None)
        assert run["live"] == live, "S10: live, and nobody has it"
        assert not (undo["live"] and task["state"] != "COMPENSATING"), "S10: an undoing is live without its state"
        assert task["state"] != "PENDING" or not run["live"]
        if state["stages"][stage] in ("COMPLETED", "SKIPPED") and now in (*model.GOING_ON, "COMPLETED"):
            assert done[key], "S9: a stage is over and its task is not"
    undoing = [key for key, task in tasks.items() if task["state"] == "COMPENSATING"]
    assert len(undoing) <= 1, "S15: several compensations at once"
    assert (now == "ROLLING_BACK") == bool(undoing), "S15: a rollback that undoes nothing"
    if now == "ROLLED_BACK":
        left = [key for key, task in tasks.items() if task["completed"] and "compensate" in plan[key]]
        assert not left, f"S15: rolled back, and {left} is still done"
    if now == "RUNNING":
        waiting = [t for t in tasks.values() if t["run"]["live"] or (t["state"] == "WAITING" and t["run"]["retry_at"])]
        assert waiting, "L1: it runs and waits for nothing"


def check_step(
    template: dict[str, Any], before: dict[str, Any], ask: dict[str, Any], after: dict[str, Any], sent: Any
) -> None:
    """Check S7, S9, S10, S11, S14, S15 of one step."""
    was, now = before["state"], after["state"]
    assert was == now or (was, now) in _INSTANCE_MOVES or ask["do"] == "replay", f"S7: {was} → {now}"
    assert was not in model.ENDED or ask["do"] == "replay", "S7: something happened after the end"
    plan = {(s["stage_name"], t["task_name"]): t for s in template["stages"] for t in s.get("tasks", ())}
    started, cancelled = [], []
    for key, task in after["tasks"].items():
        old = before["tasks"][key]
        for side, name, spec in (
            ("run", "StartTask", plan[key]),
            ("undo", "CompensateTask", plan[key].get("compensate", {})),
        ):
            attempts = task[side]["attempt"] - old[side]["attempt"]
            assert attempts in (0, 1), "S9, S10: an attempt was left out, or a join fired twice"
            queue = spec.get("task_queue")
            if attempts and queue:
                started.append((name, queue, key, task[side]["attempt"]))
            nudged_or_late = attempts and ask["do"] in ("pending", "due", "failed", "resume")
            answered = ask["do"] in ("completed", "failed", "decide", "due") and key == (
                ask.get("stage"),
                ask.get("task"),
            )
            lost = old[side]["live"] and (not task[side]["live"] or attempts)
            timed_out = (task[side]["error"] or {}).get("code") == "timeout" and ask["do"] in ("resume", "due")
            if lost and queue and not (nudged_or_late or answered or timed_out):
                cancelled.append(("CancelTask", queue, key, old[side]["attempt"]))
            if not attempts and old[side]["result"]:
                changed = task[side]["result"] != old[side]["result"]
                assert not changed or task["withdrawn"] is False, "S14: a second result for one attempt"
    told = [(one["event_name"], one["queue"], (one["stage_name"], one["task_name"]), one["attempt"]) for one in sent]
    assert sorted(one for one in told if one[0] != "CancelTask") == sorted(started), "S11: attempts and messages"
    assert sorted(one for one in told if one[0] == "CancelTask") == sorted(cancelled), f"S11: {told} is not {cancelled}"
    begun = [
        key for key, task in after["tasks"].items() if task["undo"]["attempt"] > before["tasks"][key]["undo"]["attempt"]
    ]
    for key in begun:
        if before["tasks"][key]["state"] in model.BEING_UNDONE and ask["do"] in ("pending", "due", "failed"):
            continue  # The same once more.
        newer = [
            other for other, task in after["tasks"].items()
            if task["completed"] and "compensate" in plan[other] and task["completed"] > after["tasks"][key]["completed"]
        ]  # fmt: skip
        assert not newer, f"S15: {key} is undone before {newer}"


def main() -> None:
    """Explore all templates and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=16_000, help="at most so many states of each template")
    most = parser.parse_args().states
    total = 0
    for name, template in TEMPLATES.items():
        begun = time.perf_counter()
        found = Explorer(template).explore(most)
        total += found.states
        seconds = time.perf_counter() - begun
        end = "all of them" if found.complete else "and there are more"
        ends = ", ".join(f"{number} {state}" for state, number in found.ends.most_common())
        print(
            f"{found.states:7} states, {found.transitions:8} steps tried, {found.accepted:7} taken, {seconds:5.1f} s: {name}"
        )
        print(f"        {end}; {found.looked_at_only} not followed; {ends}")
    print(f"{total:7} states in all, and not one disagreement")


if __name__ == "__main__":
    main()
