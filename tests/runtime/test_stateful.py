"""A machine that asks the door anything, in any order, and checks after each step that log, rows and outbox agree.

`TEST_EXAMPLES=300 TEST_STEPS=40` digs deeper.
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests import law, moves
from tests.builders import (
    FINANCE,
    activity,
    excluded,
    expected_of,
    human,
    plugin,
    retry,
    service,
    stage,
    step,
    undo,
    workflow,
)
from tests.runtime.door import Door, check_clocks, empty, everything, settle_people
from tests.templates import contexts
from workflows.definitions.growing import grown
from workflows.engine import commands as c
from workflows.engine.lifecycle import ENDED
from workflows.models import LoggedEvent, OutboxMessage, WorkflowInstance
from workflows.runtime import leasing, outbox, plugins
from workflows.runtime.asking import Answer, Outcome
from workflows.runtime.loading import definition_of, snapshots
from workflows.runtime.refusals import STATUS, is_recorded
from workflows.runtime.replay import check_history, state_at

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

PLUGINS = [
    plugin(service("scan", task_queue="queue-1", **undo("queue-undo"), **retry(2, 5))),
    plugin(service("fraud", task_queue="queue-2", timeout_seconds=30, on_failure="rollback")),
    plugin(service("news", task_queue="queue-1", **retry(2)), optional=True),
    plugin(human("look", task_queue="queue-notify", compensate={"assigned_to": "finance"})),
    plugin(step("count", when={"!=": [{"var": "scan"}, 1]}), optional=True),
]
QUEUES = ("queue-1", "queue-2", "queue-undo", "queue-notify")
REFS = ("ONE", "TWO")


class Machine(RuleBasedStateMachine):
    """Two instances of one random template (a second version comes along), everybody, and the clock."""

    @initialize(
        template=moves.busy_templates(max_stages=3, max_tasks=4),
        context=contexts,
        by=st.sampled_from(["ada", "fred"]),
    )
    def open(self, template: dict[str, Any], context: dict[str, Any], by: str) -> None:
        empty()
        self.site = Door()
        self.site.publish(template)
        for ref in REFS:
            assert self.site.start(ref, context=context, by=by).created
        self.template = template
        self.definition = definition_of(self.site.instance("ONE").template_id)
        self.anything = moves.anything(self.definition)
        self.leases: list[dict[str, Any]] = []
        self.logs: dict[uuid.UUID, list[Any]] = {}
        self.said: list[tuple[str, Any, dict[str, Any]]] = []

    # --- asking ---

    def _ask(self, ref: str, command: Any, **how: Any) -> Answer:
        before = everything()
        answer = self.site.ask(command, ref=ref, **how)
        self._judge(before, answer)
        if how.get("event_id") is not None:
            self.said.append((ref, command, how))
        return answer

    def _judge(self, before: dict[str, list[Any]], answer: Answer) -> None:
        after = everything()
        new = after["LoggedEvent"][len(before["LoggedEvent"]) :]
        if answer.outcome is Outcome.APPLIED:
            assert answer.events == tuple(event["event"] for event in new)
            return
        if answer.outcome is Outcome.REFUSED and is_recorded(str(answer.code)):
            assert [event["event"] for event in new] == ["InputRefused"]
            for name in before:
                if name not in ("WorkflowInstance", "LoggedEvent"):
                    assert after[name] == before[name], f"{answer.code} changed {name}"
            return
        assert answer.code is None or answer.code in STATUS
        assert after == before, f"{answer.outcome} {answer.code} changed something"

    @rule(data=st.data(), ref=st.sampled_from(REFS), pause=st.sampled_from([0, 0, 0.2]))
    def anything_is_asked(self, data: st.DataObject, ref: str, pause: float) -> None:
        self.site.at += dt.timedelta(seconds=pause)
        self._ask(ref, data.draw(self.anything))

    @rule(data=st.data(), ref=st.sampled_from(REFS), event_id=st.sampled_from(["e1", "e2", "e3"]))
    def a_message_with_an_id_comes(self, data: st.DataObject, ref: str, event_id: str) -> None:
        self._ask(ref, data.draw(moves.services_say(self.definition)), event_id=event_id)

    @rule(data=st.data())
    @precondition(lambda self: getattr(self, "said", None))
    def a_message_comes_again(self, data: st.DataObject) -> None:
        ref, command, how = data.draw(st.sampled_from(self.said))
        before = everything()
        first = self.site.ask(command, ref=ref, **how)
        self._judge(before, first)
        before = everything()
        again = self.site.ask(command, ref=ref, **how)
        self._judge(before, again)
        # Now it has been applied or refused; once more it is a duplicate or refused again, and never applied.
        if first.outcome is not Outcome.REFUSED and how["event_id"]:
            assert again.outcome is not Outcome.APPLIED or not again.events

    @rule(data=st.data(), ref=st.sampled_from(REFS), times=st.integers(1, 4))
    def what_fits_is_asked(self, data: st.DataObject, ref: str, times: int) -> None:
        """Something that suits the state, so that instances get somewhere."""
        for _ in range(times):
            self._ask_what_fits(data, ref)

    def _ask_what_fits(self, data: st.DataObject, ref: str) -> None:
        _, now = state_at(self.site.instance(ref))
        if fitting := moves.fitting(self.definition, now):
            self._ask(ref, data.draw(st.sampled_from(fitting)))

    @rule(data=st.data())
    def several_things_are_asked_at_once(self, data: st.DataObject) -> None:
        """A batch does what the same commands would do one after the other."""
        fitting = [
            (ref, one) for ref in REFS for one in moves.fitting(self.definition, state_at(self.site.instance(ref))[1])
        ]
        likely = st.sampled_from(fitting) if fitting else st.nothing()
        asked = data.draw(st.lists(likely | st.tuples(st.sampled_from(REFS), self.anything), min_size=2, max_size=6))
        before = everything()
        answers = self.site.batch(*(self.site.asked(command, ref=ref) for ref, command in asked))
        new = everything()["LoggedEvent"][len(before["LoggedEvent"]) :]
        applied = sum(len(answer.events) for answer in answers)
        refused = sum(answer.code is not None and is_recorded(answer.code) for answer in answers)
        assert not any(answer.code == "internal_error" for answer in answers)
        assert len(new) == applied + refused

    @rule(ref=st.sampled_from(REFS), context=contexts)
    def it_is_started_again(self, ref: str, context: dict[str, Any]) -> None:
        before = everything()
        answer = self.site.start(ref, context=context)
        assert answer.outcome is Outcome.DUPLICATE
        assert everything() == before

    @rule(data=st.data(), ref=st.sampled_from(REFS), seen=st.integers(0, 60))
    def somebody_saw_an_older_state(self, data: st.DataObject, ref: str, seen: int) -> None:
        now = self.site.instance(ref).last_sequence
        answer = self._ask(ref, data.draw(moves.operators_say(self.definition)), if_match=seen)
        if seen != now:
            assert answer.code in ("precondition_failed", "unknown_task")

    # --- workers, the clock, other processes ---

    @rule(queue=st.sampled_from(QUEUES), most=st.integers(1, 3), seconds=st.sampled_from([1, 60]))
    def a_worker_leases(self, queue: str, most: int, seconds: int) -> None:
        held = {(lease["instance_id"], lease["task_name"], lease["event_name"]) for lease in self._running()}
        tasks = self.site.lease(queue, most=most, seconds=seconds)
        for task in tasks:
            _, now = state_at(WorkflowInstance.objects.get(pk=task["instance_id"]))
            state = now.tasks[self._position(now, task["stage_name"], task["task_name"])]
            one = state.compensation if task["event_name"] == "CompensateTask" else state
            assert (one.attempt, one.state) == (task["attempt"], "STARTED")
            assert now.state != "SUSPENDED"
            assert (task["instance_id"], task["task_name"], task["event_name"]) not in held or task["attempt"] > 1
        self.leases += tasks

    def _position(self, now: Any, stage_name: str, task_name: str) -> int:
        return (now.grown or self.definition).task_positions[stage_name, task_name]

    def _running(self) -> list[dict[str, Any]]:
        return [one for one in self.leases if dt.datetime.fromisoformat(one["lease_until"]) > self.site.at]

    @rule(data=st.data(), named=st.booleans(), fails=st.booleans())
    @precondition(lambda self: getattr(self, "leases", None))
    def a_worker_answers(self, data: st.DataObject, named: bool, fails: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        about = {
            "compensation": lease["event_name"] == "CompensateTask",
            "attempt": lease["attempt"] if named else None,
        }
        kind = c.FailTask if fails else c.CompleteTask
        command = kind(lease["stage_name"], lease["task_name"], **about)
        ref = lease["business_ref_no"]
        answer = self._ask(ref, command, lease_id=lease["lease_id"])
        if answer.outcome is Outcome.APPLIED:
            assert lease["lease_id"] in {one["lease_id"] for one in self._running()}, "a lease that ended was accepted"

    @rule(data=st.data())
    @precondition(lambda self: getattr(self, "leases", None))
    def a_worker_wants_more_time(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        history = LoggedEvent.objects.count()
        try:
            told = leasing.extend(
                lease["queue"] if "queue" in lease else self._queue(lease),
                lease["lease_id"],
                lease_seconds=5,
                at=self.site.at,
            )
        except leasing.LeaseLost:
            pass
        else:
            lease["lease_until"] = told["lease_until"]
        assert LoggedEvent.objects.count() == history

    def _queue(self, lease: dict[str, Any]) -> str:
        return OutboxMessage.objects.get(instance=lease["instance_id"], message_id=lease["message_id"]).queue

    @rule(seconds=st.sampled_from([0, 0.5, 1, 29, 61, 4000, 90_000]))
    def time_passes(self, seconds: float) -> None:
        self.site.later(seconds)

    @rule(seconds=st.sampled_from([0.5, 61, 4000]))
    def time_passes_and_the_clock_is_late(self, seconds: float) -> None:
        self.site.at += dt.timedelta(seconds=seconds)

    @rule()
    def the_relay_sends(self) -> None:
        claimed = outbox.claim(self.site.at, most=50)
        outbox.settle(claimed, [None] * len(claimed), at=self.site.at)

    @rule()
    def another_process_takes_over(self) -> None:
        snapshots.forget()

    @rule(data=st.data(), ref=st.sampled_from(REFS))
    def another_process_did_something(self, data: st.DataObject, ref: str) -> None:
        """Our cache does not see what others write."""
        known = dict(snapshots._kept)
        self._ask(ref, data.draw(self.anything))
        snapshots.forget()
        snapshots.put(known.items())

    @rule()
    def a_new_version_is_published(self) -> None:
        self.site.publish({**self.template, "timeout_seconds": 86_399})

    # --- what always holds ---

    @invariant()
    def log_rows_and_outbox_agree(self) -> None:
        if not hasattr(self, "site"):
            return
        for ref in REFS:
            instance = self.site.instance(ref)
            assert check_history(instance) == []
            check_clocks(instance)
            assert instance.version == 1
            self._check_log(instance)
            definition, now = state_at(instance)
            law.check_counts(definition, now)
            law.check_at_rest(definition, now)
            assert (instance.finished_at is not None) == (now.state in ENDED)
            self._check_messages(instance, now)

    def _check_log(self, instance: WorkflowInstance) -> None:
        rows = list(LoggedEvent.objects.filter(instance=instance).order_by("sequence").values())
        assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
        assert all(row["actor"] for row in rows)
        seen = self.logs.get(instance.pk, [])
        assert rows[: len(seen)] == seen, "what was logged has changed"
        self.logs[instance.pk] = rows

    def _check_messages(self, instance: WorkflowInstance, now: Any) -> None:
        rows = OutboxMessage.objects.filter(instance=instance)
        sent = [(row.event_name, row.position, row.attempt, "compensation" in row.payload) for row in rows]
        assert len(sent) == len(set(sent)), "a message was written down twice"
        for task, state in zip((now.grown or self.definition).tasks, now.tasks, strict=True):
            starts = sorted(a for name, at, a, _ in sent if (name, at) == ("StartTask", task.position))
            assert starts == (list(range(1, state.attempt + 1)) if task.task_queue else [])
            undone = sorted(a for name, at, a, _ in sent if (name, at) == ("CompensateTask", task.position))
            attempts = state.compensation.attempt if state.compensation else 0
            by_queue = task.compensate is not None and task.compensate.task_queue
            assert undone == (list(range(1, attempts + 1)) if by_queue else [])


class PluginMachine(Machine):
    """The same with an activity: who takes part is drawn, and changes now and then while instances run."""

    @initialize(planted=st.permutations(PLUGINS), start=st.integers(0, len(PLUGINS)))
    def open(self, planted: list[Any], start: int) -> None:
        empty()
        self._plant(planted, start)
        self.undo = plugins.ask_with(lambda activity, phase, attributes: expected_of(self.planted, phase))
        self.site = Door()
        self.template = workflow(
            stage("S", service("a", **undo("queue-undo"))), activity("B"), stage("C", service("z"))
        )
        self.site.publish(self.template)
        for ref in REFS:
            assert self.site.start(ref, by="ada").created
        self.definition = definition_of(self.site.instance("ONE").template_id)
        # Of everybody who may ever take part anything may be asked.
        said = [{"name": one.name, "mandatory": True, "labels": {}, "task": one.task} for one in PLUGINS]
        self.anything = moves.anything(grown(self.definition, 1, "parallel", plugins=said, excluded=[]))
        self.leases, self.logs, self.said = [], {}, []

    @rule(planted=st.permutations(PLUGINS), start=st.integers(0, len(PLUGINS)))
    def others_register(self, planted: list[Any], start: int) -> None:
        self._plant(planted, start)

    def _plant(self, planted: list[Any], start: int) -> None:
        self.planted = {"pre": planted[start : start + 2], "parallel": planted[:start], "post": planted[start + 2 :]}
        self.planted["post"] = [*self.planted["post"], excluded("kept out")]

    def teardown(self) -> None:
        if hasattr(self, "undo"):
            self.undo()


@pytest.mark.parametrize("machine", [Machine, PluginMachine])
def test_whatever_is_asked_log_rows_and_outbox_agree(machine):
    settle_people()
    snapshots.forget()
    assert moves.PEOPLE["fred"]["groups"] == FINANCE
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("TEST_EXAMPLES", "15" if connection.vendor == "sqlite" else "6")),
            stateful_step_count=int(os.environ.get("TEST_STEPS", "15")),
            deadline=None,
            derandomize="TEST_EXAMPLES" not in os.environ,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
