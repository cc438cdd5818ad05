"""The engine and the model are asked the same, anything in any order, and must agree: states, answers, messages.

The model (`model.py`) was written from the contract alone. `ORACLE_EXAMPLES=2000 ORACLE_STEPS=60` digs deeper.

Where the contract is silent the model follows the engine, which does what users of Temporal or Camunda expect:

- `StartTask` of a HUMAN task with a queue also carries `assigned_to`; a `CancelTask` of a compensation carries `output`
  and `undoes_attempt`, and (as its context) those of the moment after the input that withdrew it.
- A step that a signal has woken is `SCHEDULED`: nobody has taken it again yet. While suspended a signal is kept, and
  wakes at resume. During a rollback nobody waits for signals: `wrong_state`.
- A time-out is a result of the attempt: a `TaskFailed` that comes after it is a duplicate. What an operator does by
  hand is none: it comes too late (`attempt_closed`), unless the same result had been accepted before.
- Who may not do it is told so before it is told that it is too late (403 before 409).
- While suspended, a failed attempt leaves its task `FAILED`, also where another attempt will follow: at resume it is
  `WAITING`, its pause counted from the failure. Such a task, and one FAILED under `rollback` whose rollback will follow
  at resume, can be skipped or completed by an operator, which averts that; it cannot be failed.
- At resume tasks are looked at in template order: what is overdue times out, what failed gets its next attempt or its
  policy; the first that fails under `rollback` ends that, and what stood FAILED behind it stays so.
- An operator's `skip/`, `complete/`, `fail/` on a task that is not being undone, during a rollback: `wrong_state`; and
  `fail/` on one that is. `retry/` and `TaskPending` of a task whose compensation is under way (COMPENSATING) send the
  compensation again without `"compensation": true` too, whatever `attempt` says, which then counts the task's own.
- `retry/` of a task `WAITING` between attempts begins a new round; a `TaskPending` does not. Of a compensation between
  attempts neither does.
- A replay empties `claimed_by`; `output` and `outcome` stay until the next attempt.
- An instance that is reopened by a replay has no time limit any more. `resume/` accepts a delay, also from SUSPENDED.
- `complete/` on a task that a person had decided empties its `outcome`.
- While a task is COMPENSATING or COMPENSATION_FAILED, `error` and `claimed_by` show the compensation.
- A failed compensation's `"final": true`, like a task's, leaves no attempt.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests import moves
from tests.model.twin import Twins
from tests.model.twin_at_the_door import TwinsAtTheDoor
from tests.runtime.door import check_clocks, empty, settle_people
from tests.templates import contexts
from workflows.engine import commands as c
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history

_SEEDS = st.integers(0, 2**32 - 1)


def _profile(*, examples: int, steps: int) -> settings:
    return settings(
        max_examples=int(os.environ.get("ORACLE_EXAMPLES", examples)),
        stateful_step_count=int(os.environ.get("ORACLE_STEPS", steps)),
        deadline=None,
        derandomize="ORACLE_EXAMPLES" not in os.environ,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


class Oracle(RuleBasedStateMachine):
    """One instance of a random template, in the pure engine and in the model."""

    twins: Twins
    asked = 0

    @initialize(
        template=moves.busy_templates(max_stages=3, max_tasks=4),
        context=contexts,
        by=st.sampled_from(["ada", "fred"]),
        luck=st.sampled_from([0, 0.5, 0.99]),
    )
    def open(self, template: dict[str, Any], context: dict[str, Any], by: str, luck: float) -> None:
        self.twins = self._open(template, context, by, luck)
        self.anything = moves.anything(self.twins.definition)

    def _open(self, template: dict[str, Any], context: dict[str, Any], by: str, luck: float) -> Twins:
        return Twins(template, context=context, by=by, luck=luck)

    @rule(data=st.data(), pause=st.sampled_from([0, 0, 0.2]))
    def anything_is_asked(self, data: st.DataObject, pause: float) -> None:
        self.twins.ask(data.draw(self.anything), after=pause)

    @rule(data=st.data())
    def what_fits_is_asked(self, data: st.DataObject) -> None:
        if fitting := moves.fitting(self.twins.definition, self.twins.now):
            self.twins.ask(data.draw(st.sampled_from(fitting)))

    @rule(seed=_SEEDS, times=st.integers(2, 12))
    def much_that_fits_is_asked(self, seed: int, times: int) -> None:
        self.twins.ask_what_fits(random.Random(seed), times)

    @rule(seed=_SEEDS, times=st.integers(2, 4))
    def the_same_is_asked_twice(self, seed: int, times: int) -> None:
        """Duplicates: of what is applied, and of what is refused."""
        if fitting := moves.fitting(self.twins.definition, self.twins.now):
            command = random.Random(seed).choice(fitting)
            for _ in range(times):
                self.twins.ask(command)

    @rule(seconds=st.sampled_from([0, 0.5, 1, 29, 61, 4000, 90_000]))
    def time_passes(self, seconds: float) -> None:
        self.twins.later(seconds)

    @rule(seconds=st.sampled_from([0.5, 61, 4000]))
    def time_passes_and_the_clock_is_late(self, seconds: float) -> None:
        self.twins.at += dt.timedelta(seconds=seconds)

    @rule(data=st.data(), attempt=st.integers(1, 3), compensation=st.booleans())
    def a_clock_goes_off_for_nothing(self, data: st.DataObject, attempt: int, compensation: bool) -> None:
        position = data.draw(st.integers(0, len(self.twins.definition.tasks) - 1))
        kind = data.draw(st.sampled_from([c.ElapseTaskTimeout, c.ElapseRetry]))
        self.twins.ask(kind(position, attempt, compensation))
        self.twins.ask(c.ElapseInstanceTimeout())

    def teardown(self) -> None:
        if hasattr(self, "twins"):
            Oracle.asked += len(self.twins.log)


def test_the_engine_does_what_the_model_says():
    Oracle.asked = 0

    run_state_machine_as_test(Oracle, settings=_profile(examples=120, steps=30))

    assert Oracle.asked > 2_000, "the machine hardly asked anything"


@settings(parent=_profile(examples=40, steps=1))
@given(data=st.data(), template=moves.busy_templates(max_stages=3, max_tasks=4), context=contexts)
def test_they_agree_on_long_walks(data, template, context):
    """Some thousand steps a second: what is asked comes from a seed, not from Hypothesis."""
    for seed in data.draw(st.lists(_SEEDS, min_size=3, max_size=3)):
        luck = random.Random(seed)
        twins = Twins(template, context=context, by=luck.choice(["ada", "fred"]), luck=luck.choice([0, 0.5, 0.99]))
        for _ in range(60):
            _walk(twins, luck)


def _walk(twins: Twins, luck: random.Random) -> None:
    match luck.choices(["clock", "late", "signal", "pause", "misplaced", "fitting"], [10, 3, 5, 3, 9, 70])[0]:
        case "clock":
            twins.later(luck.choice([0, 0.5, 40, 4000, 90_000]))
        case "late":
            twins.at += dt.timedelta(seconds=luck.choice([0.5, 61, 4000]))
        case "signal":
            twins.ask(c.SendSignal(luck.choice(["paid", "shipped"])))
        case "pause":
            twins.ask(luck.choice([c.SuspendWorkflow(), c.ResumeWorkflow()]))
        case "misplaced":
            task = luck.choice(twins.definition.tasks)
            kind = luck.choice([c.CompleteTask, c.FailTask, c.BeginTask, c.RetryTask])
            attempt, undoing = luck.choice([None, 1, 2, 3]), luck.random() < 0.3
            twins.ask(kind(task.stage_name, task.task_name, attempt=attempt, compensation=undoing))
        case "fitting":
            twins.ask_what_fits(luck, 1)


class OracleAtTheDoor(Oracle):
    """The same through the one door, with event ids, on the database."""

    twins: TwinsAtTheDoor

    def _open(self, template: dict[str, Any], context: dict[str, Any], by: str, luck: float) -> Twins:
        empty()
        return TwinsAtTheDoor(template, context=context, by=by)

    @rule(data=st.data(), event_id=st.sampled_from(["e1", "e2", "e3"]), times=st.integers(1, 3))
    def a_message_with_an_id_comes(self, data: st.DataObject, event_id: str, times: int) -> None:
        command = data.draw(moves.services_say(self.twins.definition))
        for _ in range(times):
            self.twins.ask(command, event_id=event_id)

    @rule()
    def another_process_takes_over(self) -> None:
        snapshots.forget()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "twins"):
            instance = self.twins.door.instance()
            assert check_history(instance) == []
            check_clocks(instance)


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_the_runtime_does_what_the_model_says():
    settle_people()
    snapshots.forget()

    sqlite = connection.vendor == "sqlite"
    run_state_machine_as_test(OracleAtTheDoor, settings=_profile(examples=25 if sqlite else 8, steps=15))
