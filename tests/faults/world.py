"""A small world round the product, in one process: callers, people, services, a broker, and time that we make.

What is outside of the product is kept in files (broker, ledger, operation log, clock), so that it survives when the
process is killed; a second process goes on where the first one was. Callers repeat what was not answered.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Group
from django.db import connections
from django.test import Client
from django.utils import timezone

from tests.faults import checker, facts, records
from tests.faults.filebus import FileBus
from tests.faults.records import FAIL, OK, UNKNOWN
from workflows.messaging.port import Incoming, Outgoing
from workflows.messaging.receiving import receive
from workflows.messaging.relay import Relay
from workflows.models import HumanTask, LoggedEvent, OutboxMessage, QuarantinedMessage, TaskInstance, WorkflowInstance
from workflows.runtime import deadlines, listeners, replay
from workflows.runtime.loading import snapshots
from workflows.steps.runner import StepRunner

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
INBOUND = "workflow_manager"
SWEPT = "swept"
"""How the names of rows begin that steps write, each next to its outcome."""
DONE, ASKED = "done", "asked"
_SAID = {"TaskCompleted": DONE, "SignalAwaited": ASKED, "CompensationCompleted": f"undoing {DONE}"}
PAUSE = 130.0
"""Seconds that pass before something broken is tried again: longer than any claim of a process that has died."""
_PATIENCE = 8


class World:
    """One instance of the product with its surroundings, in a folder."""

    def __init__(
        self, folder: Path, *, behaviours: Mapping[str, Sequence[str]], lie: Callable[[], None] = lambda: None
    ) -> None:
        self.folder = folder
        self.bus = FileBus(folder / "bus.sqlite3", lie=lie)
        self.ledger = records.Ledger(folder / "ledger.sqlite3")
        self.log = records.OperationLog(folder / "operations.jsonl", driver="world")
        self.behaviours = behaviours
        self.tokens: dict[str, str] = json.loads((folder / "tokens.json").read_text())
        self.steps = StepRunner(now=self.now)
        self.relay = Relay(open_bus=lambda: self.bus, now=self.now)
        self.relay.worker.doze = lambda seconds: None  # type: ignore[method-assign]
        listeners.subscribe(self.relay.heard)
        self.step = 0
        self.troubles = 0
        self._frames = records.Lines(folder / "frames.jsonl")
        self._end = listeners.subscribe(self._hear)
        self._client = Client(raise_request_exception=False)
        clock = folder / "clock"
        self._offset = float(clock.read_text()) if clock.exists() else 0.0
        timezone.now = self.now
        connections["default"].settings_dict["NAME"] = str(folder / "db.sqlite3")
        snapshots.forget()

    def _hear(self, committed: listeners.Committed) -> None:
        for change in committed.changes:
            self._frames.add(
                {"socket": os.getpid(), "topic": f"instance:{change.instance_id}", "sequence": change.last_sequence}
            )

    # --- time ---

    def now(self) -> dt.datetime:
        """Give the time: each look is a moment later than the last."""
        self._offset += 0.0001
        return NOON + dt.timedelta(seconds=self._offset)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, for good."""
        self._offset += seconds
        (self.folder / "clock").write_text(repr(self._offset))

    # --- going through a scenario ---

    def play(self, steps: Sequence[Callable[[World], None]]) -> None:
        """Do each step that is not known to be done, and let follow what follows."""
        for number, step in enumerate(steps):
            self.step = number
            for _ in range(_PATIENCE):
                if number in self._done():
                    break
                step(self)
                if number not in self._done():
                    self.pass_time(PAUSE)
            else:
                raise AssertionError(f"step {number} never ended")
            self.settle()

    def _done(self) -> set[int]:
        operations = records.read_operations(self.folder / "operations.jsonl")
        return {one.request["step"] for one in operations if one.outcome in (OK, FAIL) and "step" in one.request}

    def drain(self) -> None:
        """Let everything come to rest: what was put off by something broken has its time, too."""
        for again in range(_PATIENCE):
            self.settle()
            due = deadlines.next_due()
            soon = due is not None and due <= self.now() + dt.timedelta(seconds=PAUSE)
            unsent = OutboxMessage.objects.exclude(state="SENT").exists()
            if again and not (unsent or soon or self.bus.depths()):
                return
            self.pass_time(PAUSE)
        self.settle()

    def _hand_in_again(self) -> int:
        """Do what operators do about messages that met a bug of ours."""
        held = list(QuarantinedMessage.objects.filter(code="internal_error", state="OPEN").values_list("pk", flat=True))
        for key in held:
            self.call("resubmit", f"quarantine/{key}/resubmit/", {}, by="olivia", key=str(key), step=-1)
        if held:
            self.pass_time(PAUSE)
        return len(held)

    def settle(self) -> None:
        """Let everything happen that can: until nothing moves any more."""
        quiet = 0
        while quiet < 2 and self.troubles < 50:
            moved = 0
            for work in (self._relay, self._serve, self._receive, self._run_steps, self._fire, self._hand_in_again):
                try:
                    moved += work()
                except Exception:
                    # As a worker's thread does: it goes on after a pause.
                    self.troubles += 1  # bounded: what never works is told by how it all ends
                    self.pass_time(PAUSE)
                    moved += 1
            quiet = 0 if moved else quiet + 1

    def _relay(self) -> int:
        unsent = OutboxMessage.objects.exclude(state="SENT")
        before = unsent.count()
        # What this process has committed it has posted by itself; the look settles that, and finds the rest.
        self.relay.look()
        self.relay._work()
        return before - unsent.count()

    def _receive(self) -> int:
        def handle(messages: Sequence[Incoming]) -> None:
            receive(messages, at=self.now())

        return self.bus.consume(handle, queues=[INBOUND], max_messages=10, timeout=0)

    def _run_steps(self) -> int:
        before = TaskInstance.objects.filter(queue="@steps").count()
        self.steps.run_due()
        return int(before != TaskInstance.objects.filter(queue="@steps").count())

    def _fire(self) -> int:
        return deadlines.fire_due(self.now())

    # --- services ---

    def _serve(self) -> int:
        taken = self.bus.take(INBOUND)
        if taken is None:
            return 0
        key, queue, message_id, body, redelivered = taken
        message = json.loads(body)
        received = self.ledger.received(queue, body, message_id=message_id, redelivered=redelivered)
        if message["event_name"] != "CancelTask":
            self._do(queue, body, message, message_id=message_id, received=received)
        self.bus.forget(key)
        return 1

    def _do(self, queue: str, body: bytes, message: Mapping[str, Any], *, message_id: str, received: float) -> None:
        name = ("undo " if message.get("compensation") else "") + str(message["task_name"])
        # ok, fail, twice (reported two times), mute (done; the story reports it), silent (never heard of).
        planned = self.behaviours.get(name, ())
        attempt = int(message["attempt"])
        how = planned[attempt - 1] if attempt <= len(planned) else "ok"
        if how == "silent":
            return
        if how != "fail":
            self.ledger.effect(
                queue,
                body,
                message_id=message_id,
                idempotency_key=str(records.AttemptKey.of(message)),
                idempotent=True,
                received=received,
            )
        for _ in range({"mute": 0, "twice": 2}.get(how, 1)):
            self.report(message, failed=how == "fail")

    def report(self, message: Mapping[str, Any], *, failed: bool = False, **more: Any) -> None:
        """Send a service's result to the product."""
        result = {
            name: message[name]
            for name in ("business_ref_no", "component_name", "stage_name", "task_name", "attempt", "compensation")
            if name in message
        }
        result |= {"event_id": f"{message['message_id']}-result", **more}
        if failed:
            result |= {"event_name": "TaskFailed", "error": {"code": "broken"}}
        else:
            result |= {"event_name": "TaskCompleted", "output": {message["task_name"]: message["attempt"]}}
        self.send(result)

    def send(self, message: Mapping[str, Any], *, raw: bytes | None = None, **tags: Any) -> None:
        """Put a message on the inbound queue: the broker has it, whatever happens to the product."""
        body = raw if raw is not None else json.dumps(message).encode()
        request = {**message, **tags} if raw is None else {"raw": raw.decode(), **tags}
        operation = self.log.begin("event", key=str(message.get("event_id", "")), request=request)
        self.bus.put([Outgoing(message_id=str(message.get("event_id", "")), queue=INBOUND, body=body)])
        self.log.end(operation, OK)

    # --- callers ---

    def call(self, kind: str, path: str, body: Any, *, by: str, key: str, **more: Any) -> dict[str, Any] | None:
        """Call the API as somebody, and give the answer (None: there was none that counts)."""
        request = {"by": by, "step": self.step, **(body if isinstance(body, Mapping) else {}), **more}
        operation = self.log.begin(kind, key=key, request=request)
        response = self._client.post(
            f"/api/v1/{path}",
            json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.tokens[by]}"},
        )
        answer = response.json() if response.content else {}
        outcome = records.outcome_of(response.status_code)
        self.log.end(operation, outcome, {"status": response.status_code, **answer})
        return None if outcome == UNKNOWN else answer

    def mark(self, kind: str, **request: Any) -> None:
        """Note that a step of ours is done which asks nothing of the product."""
        operation = self.log.begin(kind, key=kind, request={"step": self.step, **request})
        self.log.end(operation, OK)

    @staticmethod
    def instance(reference: str) -> WorkflowInstance:
        """Look an instance up."""
        return WorkflowInstance.objects.get(business_ref_no=reference)

    @staticmethod
    def offers(queue: str) -> bool:
        """Tell whether a task at that queue is not done yet."""
        return TaskInstance.objects.filter(queue=queue).exists()

    @staticmethod
    def human_task(reference: str, task: str) -> HumanTask:
        """Look the newest human task of that name up."""
        found = HumanTask.objects.filter(instance__business_ref_no=reference, task_name=task).order_by("-attempt")
        return found[0]

    # --- the end ---

    def outcome(self) -> dict[str, Any]:
        """Give what became of everything, without what may differ from run to run (attempts, moments)."""
        states: dict[str, Any] = defaultdict(dict)
        for row in TaskInstance.objects.select_related("instance"):
            states[row.instance.business_ref_no][f"{row.stage_name}/{row.task_name}"] = str(row.state)
        whole = {
            one.business_ref_no: [str(one.state), one.business_status, states[one.business_ref_no]]
            for one in WorkflowInstance.objects.all()
        }
        # A set: what cannot be read may be kept twice when somebody dies before it is acknowledged, never not at all.
        unread = QuarantinedMessage.objects.exclude(code="internal_error")
        held = sorted({str(state) for state in unread.values_list("state", flat=True)})
        return {"instances": whole, "quarantine": held}

    def violations(self) -> list[str]:
        """Judge: the checker, and the product's own check of its histories."""
        for instance in WorkflowInstance.objects.all():
            # To look at the past changes nothing (S21).
            replay.state_at(instance, max(1, instance.last_sequence // 2))
        own = [*_torn()] + [f"S6 {instance.pk}: {text}" for instance, texts in replay.check_all() for text in texts]
        connections.close_all()
        return own + [str(one) for one in checker.check(left_in(self.folder, now=self.now()))]


def _torn() -> Iterator[str]:
    """Compare what steps have written with what the log says of them: both are there, or neither is."""
    steps = set(TaskInstance.objects.filter(task_type="STEP").values_list("instance", "task_name"))
    written = set(Group.objects.filter(name__startswith=SWEPT).values_list("name", flat=True))
    said = set()
    for event in LoggedEvent.objects.filter(event__in=_SAID):
        if (event.instance_id, event.task_name) in steps:
            what = f"undoing {ASKED}" if event.data.get("compensation") and event.event == "SignalAwaited" else ""
            said.add(f"{SWEPT} {event.instance_id} {event.task_name} {event.attempt} {what or _SAID[event.event]}")
    for name in written ^ said:
        yield f"S6 {name}: a step's row and its outcome are not both there"


def left_in(folder: Path, *, now: dt.datetime | None = None) -> checker.Evidence:
    """Read what a play has left in its folder."""
    found = facts.read(f"sqlite:///{folder / 'db.sqlite3'}")
    found.now = now or NOON + dt.timedelta(seconds=float((folder / "clock").read_text()))
    bus = FileBus(folder / "bus.sqlite3")
    depths = {queue: checker.Depth(count) for queue, count in bus.depths().items()}
    bus.close()
    return checker.Evidence(
        facts=found,
        operations=records.read_operations(folder / "operations.jsonl"),
        effects=records.read_effects(folder / "ledger.sqlite3"),
        deliveries=records.read_deliveries(folder / "ledger.sqlite3"),
        frames=list(records.read_lines(folder / "frames.jsonl")),
        depths=depths,
    )
