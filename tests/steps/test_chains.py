"""Random chains of steps, linear up and linear down, beside a model that fits on a page.

Steps answer, raise and wait as a plan says, for each attempt; signals come early, late and in vain; operators retry,
skip and roll back; processes die at any failpoint and others go on. What was written is what the model says, in its
order: nothing skipped, nothing repeated. `CHAIN_EXAMPLES=500` digs deeper.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.builders import NOON
from tests.runtime.door import Door, empty
from workflows import failpoints
from workflows.engine import commands as c
from workflows.engine.lifecycle import ENDED
from workflows.models import LoggedEvent
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history
from workflows.steps import StepTask, Waiting, step
from workflows.steps.runner import StepRunner

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ROLLING = ("ROLLING_BACK", "ROLLBACK_FAILED")
ONE = "CHAIN "


@dataclass(frozen=True)
class Plan:
    """What a step does in its attempts (the last one again and again), up and, if it can be undone, down."""

    up: tuple[str, ...]
    down: tuple[str, ...] = ()
    after_failure: bool = False
    attempts: int = 1


plans: list[Plan] = []


def _go(task: StepTask, does: tuple[str, ...], word: str) -> Any:
    what = does[min(task.attempt, len(does)) - 1]
    asks = what == "wait" and not task.woken
    Group.objects.create(name=f"{ONE}{word}{'?' if asks else ''} {task.task_name} {task.attempt}")
    if what == "raise":
        raise LookupError(word)
    return Waiting(f"{word} {task.task_name}") if asks else {task.task_name: task.attempt}


@step(name="chains.do")
def do(task: StepTask) -> Any:
    return _go(task, plans[task.position].up, "do")


@step(name="chains.undo")
def undo(task: StepTask) -> Any:
    return _go(task, plans[task.position].down, "undo")


def template(policy: str) -> dict[str, Any]:
    tasks = []
    for number, plan in enumerate(plans):
        task = {"task_name": f"t{number}", "task_type": "STEP", "step": "chains.do", "on_failure": policy}
        task["parent_task"] = [f"t{number - 1}"] if number else []
        task["retry"] = {"max_attempts": plan.attempts}
        if plan.down:
            task["compensate"] = {"step": "chains.undo", "retry": {"max_attempts": plan.attempts}}
            task["compensate"]["after_failure"] = plan.after_failure
        tasks.append(task)
    return {"workflow_name": "Chain", "stages": [{"stage_name": "S", "stage_order": 1, "tasks": tasks}]}


@dataclass
class Model:
    """Linear up, linear down."""

    policy: str
    state: str = "RUNNING"
    at: int = 0
    attempt: int = 1
    failures: int = 0
    phase: str = "ready"  # ready, waiting, failed, over
    woken: bool = False
    done: list[int] = field(default_factory=list)
    undone: dict[int, int] = field(default_factory=dict)  # attempts to undo
    kept: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        return "undo" if self.state in ROLLING else "do"

    @property
    def signal(self) -> str:
        return f"{self.word} t{self.at}"

    def run(self) -> None:
        while self.state not in ENDED and self.phase == "ready":
            self._turn()

    def _turn(self) -> None:
        does = plans[self.at].down if self.word == "undo" else plans[self.at].up
        what = does[min(self.attempt, len(does)) - 1]
        asks = what == "wait" and not self.woken
        if what == "raise":
            self._failed()
            return
        self.rows.append(f"{ONE}{self.word}{'?' if asks else ''} t{self.at} {self.attempt}")
        if not asks:
            self._next()
        elif self.signal in self.kept:
            self.kept.remove(self.signal)
            self.woken = True
        else:
            self.phase = "waiting"

    def _begin(self, at: int, attempt: int) -> None:
        self.at, self.attempt, self.failures, self.phase, self.woken = at, attempt, 0, "ready", False

    def _next(self) -> None:
        if self.word == "undo":
            self._down()
            return
        self.done.append(self.at)
        if self.at + 1 == len(plans):
            self.state, self.phase = "COMPLETED", "over"
        else:
            self._begin(self.at + 1, 1)

    def _failed(self) -> None:
        self.failures += 1
        if self.failures < plans[self.at].attempts:
            self.attempt, self.woken = self.attempt + 1, False
        elif self.word == "undo":
            self.state, self.phase = "ROLLBACK_FAILED", "failed"
        elif self.policy == "rollback":
            self.turn_round()
        else:
            self.state, self.phase = "FAILED", "failed"

    def turn_round(self) -> None:
        """The one that is under way, or has failed, may have had its effect."""
        self.state = "ROLLING_BACK"
        if plans[self.at].after_failure:
            self.done.append(self.at)
        self._down()

    def _down(self) -> None:
        self.state = "ROLLING_BACK"
        while self.done:
            at = self.done.pop()
            if plans[at].down:
                self.undone[at] = 1
                self._begin(at, 1)
                return
        self.state, self.phase = "ROLLED_BACK", "over"

    def hear(self, name: str) -> None:
        if self.state in ENDED or (self.state in ROLLING and not any(plan.down for plan in plans)):
            return
        if self.phase == "waiting" and name == self.signal:
            self.phase, self.woken = "ready", True
        else:
            self.kept.append(name)

    def retry(self) -> None:
        if self.phase == "failed":
            self._begin(self.at, self.attempt + 1)
            self.state = "ROLLING_BACK" if self.word == "undo" else "RUNNING"

    def leave(self) -> None:
        """Its effect stands, or somebody has undone it by hand: the rollback goes on."""
        if self.state == "ROLLBACK_FAILED":
            self._down()


does = st.lists(st.sampled_from(["wait", "ok", "raise", "ok"]), min_size=1, max_size=3).map(tuple)
undone = st.builds(Plan, up=does, down=does, after_failure=st.booleans(), attempts=st.integers(1, 2))
left = st.builds(Plan, up=does, attempts=st.integers(1, 2))
chains = st.lists(st.one_of(undone, undone, left), min_size=2, max_size=4)
_tasks = st.integers(0, 3)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("awaited")),
        st.tuples(st.just("awaited")),
        st.tuples(st.just("signal"), st.sampled_from(["do", "undo"]), _tasks),
        st.tuples(st.just("retry")),
        st.tuples(st.just("retry")),
        st.tuples(st.just("leave"), st.booleans()),
        st.tuples(st.just("roll back")),
        st.tuples(st.just("die"), st.integers(1, 60)),
        st.tuples(st.just("run")),
    ),
    min_size=4,
    max_size=14,
)


class Site:
    """The real thing."""

    def __init__(self, policy: str) -> None:
        empty()
        Group.objects.filter(name__startswith=ONE).delete()
        self.door = Door()
        self.door.at = NOON
        self.door.publish(template(policy))
        assert self.door.start().created
        self.instance = self.door.instance().pk

    def run(self, *, dies_at: int = 0) -> None:
        """Run what can be run. At the failpoint of that number the process dies; another one takes over."""
        hits = 0

        def strike(point: str) -> None:
            nonlocal hits
            hits += 1
            if hits == dies_at:
                # Not an Exception: nobody in the process lives to handle it.
                raise KeyboardInterrupt(point)

        failpoints.ACTIVE = strike if dies_at else None
        try:
            self._run()
        except KeyboardInterrupt:
            failpoints.ACTIVE = None
            snapshots.forget()
            self._run()
        finally:
            failpoints.ACTIVE = None

    def _run(self) -> None:
        runner, events = StepRunner(now=lambda: self.door.at), -1
        while events != (events := LoggedEvent.objects.count()):
            runner.run_due()

    def ask(self, command: Any) -> None:
        self.door.ask(command, ref=self.instance)

    def leave(self, model: Model, *, by_hand: bool) -> None:
        kind = c.CompleteTaskByHand if by_hand else c.SkipTask
        self.ask(kind("S", f"t{model.at}", compensation=True, reason="why"))


def act(site: Site, model: Model, what: str, *how: Any) -> None:
    match what:
        case "signal" | "awaited":
            name = f"{how[0]} t{how[1]}" if how else model.signal
            site.ask(c.SendSignal(name))
            model.hear(name)
        case "retry" if model.phase == "failed":
            site.ask(c.RetryTask("S", f"t{model.at}", compensation=model.word == "undo", reason="why"))
            model.retry()
        case "leave" if model.state == "ROLLBACK_FAILED":
            site.leave(model, by_hand=how[0])
            model.leave()
        case "roll back":
            site.ask(c.RollBackWorkflow("why"))
            if model.state in ("RUNNING", "FAILED"):
                model.turn_round()
    site.run(dies_at=how[0] if what == "die" else 0)
    model.run()


@given(chain=chains, policy=st.sampled_from(["halt", "rollback"]), acting=acts, dies_at=st.integers(0, 60))
@settings(
    max_examples=int(os.environ.get("CHAIN_EXAMPLES", "40" if connection.vendor == "sqlite" else "15")),
    deadline=None,
    derandomize="CHAIN_EXAMPLES" not in os.environ,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@example(
    chain=[Plan(("ok",), ("wait",)), Plan(("raise",), ("raise", "wait"), after_failure=True, attempts=2)],
    policy="rollback",
    acting=[("signal", "undo", 1), ("awaited",), ("die", 9), ("awaited",)],
    dies_at=30,
)
@example(
    chain=[Plan(("ok",), ("raise",)), Plan(("wait",), ("ok",), after_failure=True), Plan(("ok",))],
    policy="halt",
    acting=[("roll back",), ("signal", "do", 1), ("retry",), ("leave", True), ("retry",)],
    dies_at=40,
)
def test_a_chain_goes_up_and_down_as_the_model_says(chain, policy, acting, dies_at):
    plans[:] = chain
    site, model = Site(policy), Model(policy)
    act(site, model, "die", dies_at)
    for number, one in enumerate((("run",), *acting)):
        act(site, model, *one)

        instance = site.door.instance()
        written = list(Group.objects.filter(name__startswith=ONE).order_by("pk").values_list("name", flat=True))
        assert (str(instance.state), written) == (model.state, model.rows), f"after {number} acts"
        assert check_history(instance) == []
