"""What must have come about once the faults are over and everything had its time (L1-L5)."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from tests.faults.evidence import Evidence, Violation
from tests.faults.folding import ENDED, LIVE
from tests.faults.inside import named_wait
from tests.faults.records import OK


def l1(evidence: Evidence) -> Iterator[Violation]:
    """Every instance is terminal, or waits on a *named* thing: human task, timer with due time in the future, live
    attempt, operator (suspended/blocked).
    """
    for instance, folded in evidence.pairs():
        if folded.state in ENDED or folded.state in ("SUSPENDED", "ROLLBACK_FAILED"):
            continue
        at_work = [
            task for task in folded.tasks.values() if task.at_work() or task.state in ("WAITING", "COMPENSATING")
        ]
        for task in at_work:
            if named_wait(instance, folded, task) is None:
                yield Violation("L1", instance.id, f"{task.name} is {task.state}, and nothing will ever move it")
        if not at_work and folded.state != "FAILED":
            yield Violation("L1", instance.id, f"{folded.state}, and waits for nothing")
        guilty = any(task.state == "FAILED" and not task.done for task in folded.tasks.values())
        if folded.state == "FAILED" and not folded.timed_out and not guilty:
            yield Violation("L1", instance.id, "FAILED, and no task is to blame")
        yield from _answered(evidence, instance.id, [task.name for task in at_work if task.state in LIVE])


def _answered(evidence: Evidence, instance: str, live: list[str]) -> Iterator[Violation]:
    """A result that was acknowledged for an attempt that still waits for it was lost."""
    if evidence.operations is None or not live:
        return
    row = evidence.facts.instances[instance].row
    attempts = {
        (task.stage, task.says["task_name"], task.attempt)
        for task in evidence.folded[instance].tasks.values()
        if task.state in LIVE
    }
    for operation in evidence.operations:
        said = operation.request
        about = (said.get("stage_name"), said.get("task_name"), said.get("attempt"))
        if (
            operation.kind == "event"
            and operation.outcome == OK
            and said.get("event_name") in ("TaskCompleted", "TaskFailed")
            and not said.get("compensation")
            and (said.get("component_name"), said.get("business_ref_no")) == (row.component_name, row.business_ref_no)
            and about in attempts
            and operation.answer.get("outcome") != "refused"
            and said.get("event_id") not in {held.message_id for held in evidence.facts.quarantine}
        ):
            yield Violation("L1", instance, f"{about} was answered, and still waits")


def l2(evidence: Evidence) -> Iterator[Violation]:
    """Outbox pending = 0, inbox processing = 0, service queues empty, no unacked message."""
    for instance in evidence.facts.instances.values():
        for row in instance.outbox:
            if row.state != "SENT":
                text = f"{row.event_name} {row.task_name}#{row.attempt} is {row.state}: {row.error}"
                yield Violation("L2", instance.id, text)
    for name, depth in (evidence.depths or {}).items():
        if depth.ready or depth.unacknowledged:
            yield Violation("L2", name, f"{depth.ready} messages wait, {depth.unacknowledged} are not acknowledged")
    for held in evidence.facts.quarantine:
        if held.state == "OPEN" and held.resolved_at is not None:
            yield Violation("L2", f"quarantine {held.id}", "somebody has it in hand since ever")


def l3(evidence: Evidence) -> Iterator[Violation]:
    """No timer overdue by > 5 s; no lease older than its limit; no advisory lock held; no idle-in-transaction
    session.
    """
    now, patience = evidence.facts.now, dt.timedelta(seconds=evidence.overdue_seconds)
    limit = dt.timedelta(seconds=evidence.lease_limit_seconds)
    for instance, folded in evidence.pairs():
        by_position = {task.position: task for task in folded.tasks.values()}
        for row in instance.deadlines:
            if row.due_at < now - patience and folded.state != "SUSPENDED":
                yield Violation("L3", instance.id, f"{row.kind} of {row.position} was due {now - row.due_at} ago")
            task = by_position.get(row.position)
            if folded.state in ENDED or (task is not None and not (task.at_work() or task.state in _TICKING)):
                yield Violation("L3", instance.id, f"{row.kind} of {row.position} ticks for what is over")
        for row in instance.leases:
            if row.lease_until > now + limit:
                yield Violation("L3", instance.id, f"a lease until {row.lease_until}")
    for session in evidence.facts.sessions:
        if session["advisory"]:
            yield Violation("L3", f"session {session['pid']}", "holds an advisory lock")
        if str(session["state"]).startswith("idle in transaction") and session["seconds"] > evidence.overdue_seconds:
            yield Violation("L3", f"session {session['pid']}", f"idle in transaction for {session['seconds']:.0f} s")


_TICKING = ("WAITING", "COMPENSATING")


def l4(evidence: Evidence) -> Iterator[Violation]:
    """Sum over states = instances started; UI/metrics counts = database counts."""
    states = Counter(str(one.row.state) for one in evidence.facts.instances.values())
    started = sum(
        sum(event.name == "WorkflowStarted" for event in one.events) for one in evidence.facts.instances.values()
    )
    if sum(states.values()) != started:
        yield Violation("L4", "instances", f"{sum(states.values())} rows, {started} starts in the log")
    shown = {name: count for name, count in (evidence.counts or states).items() if count}
    if shown != dict(states):
        yield Violation("L4", "instances", f"the site shows {shown}, the database holds {dict(states)}")


def l5(evidence: Evidence) -> Iterator[Violation]:
    """Memory, file handles, threads, DB connections, channel-layer keys return to baseline ±10%."""
    for sample in evidence.samples:
        if sample.after > sample.before * 1.1 + sample.slack:
            yield Violation("L5", sample.name, f"{sample.before:g} before, {sample.after:g} after")
