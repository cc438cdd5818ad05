"""What every history, its rows and its messages must say (S5-S11, S14-S18, S21)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.faults.evidence import Evidence, Violation
from tests.faults.facts import Instance, digest_of, template_digest
from tests.faults.folding import LIVE, Folded, Sent, Task, waits

SYSTEM = frozenset({"bus", "callback", "clock", "step", "system", "orchestrator"})
"""Actors that are no user: the broker's messages, deadlines, in-process steps."""


def s5(evidence: Evidence) -> Iterator[Violation]:
    """Log gap-free: for each instance, seq = 1…n with no gap or repeat, n = last_seq."""
    for instance in evidence.facts.instances.values():
        numbers = [event.sequence for event in instance.events]
        if numbers != list(range(1, len(numbers) + 1)):
            yield Violation("S5", instance.id, f"the events are numbered {numbers}")
        if instance.row.last_sequence != len(numbers):
            yield Violation("S5", instance.id, f"{len(numbers)} events, the row says {instance.row.last_sequence}")
    for orphan in evidence.facts.orphans:
        yield Violation("S5", orphan, "there is no such instance")


def s6(evidence: Evidence) -> Iterator[Violation]:
    """State = fold(events) for the instance and every stage, task, attempt, counter, assignee, deadline; also the fold
    of each prefix is a legal state.
    """
    for instance, folded in evidence.pairs():
        yield from _compare(instance, folded)
    for key, texts in evidence.disagreements.items():
        yield from (Violation("S6", key, text) for text in texts)


def _compare(instance: Instance, folded: Folded) -> Iterator[Violation]:
    row = instance.row
    said: list[tuple[str, Any, Any]] = [
        ("state", row.state, folded.state),
        ("business status", row.business_status, folded.business_status),
        ("context", json.loads(row.context), folded.context),
    ]
    stages = {one.stage_name: one.state for one in instance.stages}
    said += [(f"stage {name}", stages.get(name), state) for name, state in folded.stages.items()]
    tasks = {(one.stage_name, one.task_name): one for one in instance.tasks}
    if len(tasks) != len(folded.tasks) or len(stages) != len(folded.stages):
        yield Violation("S6", instance.id, "rows of stages or tasks are missing, or too many")
        return
    for key, task in folded.tasks.items():
        one = tasks[key]
        error = json.loads(one.error) if one.error else None
        said += [
            (f"{task.name} state", one.state, task.state),
            (f"{task.name} attempt", one.attempt, task.attempt),
            (f"{task.name} outcome", one.outcome, task.outcome),
            (f"{task.name} output", one.output, task.output),
            (f"{task.name} error", error, task.error),
            (f"{task.name} claimed by", one.claimed_by, task.claimed_by),
        ]
        if one.task_type == "HUMAN":
            said.append((f"{task.name} assigned to", one.assigned_to, task.assigned_to))
    for what, row_says, history_says in said:
        if row_says != history_says:
            yield Violation("S6", instance.id, f"{what} is {row_says!r}, the history says {history_says!r}")
    yield from _compare_people(instance, folded)


def _compare_people(instance: Instance, folded: Folded) -> Iterator[Violation]:
    live = {}
    for (stage, name), task in folded.tasks.items():
        if task.says["task_type"] == "HUMAN" and task.state in LIVE:
            live[stage, name, task.attempt, False] = (task.state, task.claimed_by)
        undoing = task.undoing
        by_people = (task.says.get("compensate") or {}).get("assigned_to")
        if by_people and task.state == "COMPENSATING" and undoing.state in LIVE:
            live[stage, name, undoing.attempt, True] = (undoing.state, undoing.claimed_by)
    rows = {
        (one.stage_name, one.task_name, one.attempt, one.compensation): (one.state, one.claimed_by)
        for one in instance.people
        if one.state in LIVE
    }
    if rows != live:
        yield Violation("S6", instance.id, f"inboxes show {rows}, the history says {live}")
    attempts = Counter((one.stage_name, one.task_name, one.attempt, one.compensation) for one in instance.people)
    for key, count in attempts.items():
        if count > 1:
            yield Violation("S6", instance.id, f"{count} human tasks for {key}")


def s7(evidence: Evidence) -> Iterator[Violation]:
    """Every transition recorded is an edge of the published FSM; terminal states have no outgoing event (late results
    are a separate kind and do not change state).
    """
    yield from evidence.objections("S7")


def s8(evidence: Evidence) -> Iterator[Violation]:
    """No stage skipped: a stage is started only after all its dependencies are completed (or skipped by a recorded
    condition with its inputs and result).
    """
    yield from evidence.objections("S8")


def s9(evidence: Evidence) -> Iterator[Violation]:
    """No task of a stage starts before the stage; a stage completes iff all required tasks are terminal as its rule
    says; a join fires once, and it does fire.
    """
    yield from evidence.objections("S9")
    for key, folded in evidence.folded.items():
        for task in waits(folded):
            yield Violation("S9", key, f"{task.name} is ready, and was left behind")
        for name, state in folded.stages.items():
            moving = state == "ACTIVE" and folded.state in ("RUNNING", "FAILED")
            if moving and all(task.done for task in folded.of_stage(name)):
                yield Violation("S9", key, f"all tasks of {name} are done, and it was not closed")


def s10(evidence: Evidence) -> Iterator[Violation]:
    """At most one live attempt per task; attempt numbers 1…m without gaps; m ≤ retries+1 in each round."""
    yield from evidence.objections("S10")


def s11(evidence: Evidence) -> Iterator[Violation]:
    """Outbox ↔ attempts is a bijection: every StartTask row names an existing attempt, every dispatched attempt has
    exactly one StartTask row; same for cancel and compensate.
    """
    yield from evidence.objections("S11")
    ids: Counter[str] = Counter()
    for instance, folded in evidence.pairs():
        expected = Counter(_key_of(one) for one in folded.sent)
        written = Counter(_key_of_row(row) for row in instance.outbox)
        for key, count in (expected - written).items():
            yield Violation("S11", instance.id, f"{count} missing: {key}")
        for key, count in (written - expected).items():
            yield Violation("S11", instance.id, f"{count} too many: {key}")
        for row in instance.outbox:
            ids[row.message_id] += 1
            body = json.loads(row.payload)
            wanted = {
                "message_id": row.message_id, "instance_id": instance.id, "event_name": row.event_name,
                "stage_name": row.stage_name, "task_name": row.task_name, "attempt": row.attempt,
                "business_ref_no": instance.row.business_ref_no, "component_name": instance.row.component_name,
                "workflow_name": instance.row.workflow_name,
            }  # fmt: skip
            wrong = {name: body.get(name) for name, value in wanted.items() if body.get(name) != value}
            if wrong:
                yield Violation("S11", f"{instance.id} {row.event_name}", f"the message says {wrong}")
    for message, count in ids.items():
        if count > 1:
            yield Violation("S11", message, f"{count} messages with this id")


_Key = tuple[str, str, str, str, int, bool]


def _key_of(one: Sent) -> _Key:
    return one.event_name, one.queue, one.stage, one.task, one.attempt, one.compensation


def _key_of_row(row: Any) -> _Key:
    compensation = bool(json.loads(row.payload).get("compensation", False))
    return row.event_name, row.queue, row.stage_name, row.task_name, row.attempt, compensation


def s14(evidence: Evidence) -> Iterator[Violation]:
    """First terminal result per attempt wins; a decision by deadline and by person never both apply. A result counts
    for the attempt that it names, and for no other.
    """
    yield from evidence.objections("S14")
    named = {
        str(one.request["event_id"]): one.request["attempt"]
        for one in evidence.operations or ()
        if one.kind == "event" and one.request.get("event_id") and one.request.get("attempt") is not None
    }
    for instance in evidence.facts.instances.values():
        for event in instance.events:
            attempt = named.get(event.cause or "")
            if attempt is not None and event.name in _RESULTS and event.attempt != attempt:
                yield Violation("S14", str(event), f"attempt {event.attempt} has the result of attempt {attempt}")


_RESULTS = frozenset({"TaskCompleted", "TaskFailed", "CompensationCompleted", "CompensationFailed"})


def s15(evidence: Evidence) -> Iterator[Violation]:
    """Rolled back ⇔ every task with a known effect has a successful compensation recorded, in reverse dependency
    order, each effect once; ROLLBACK_FAILED otherwise.
    """
    yield from evidence.objections("S15")
    for key, folded in evidence.folded.items():
        undoing = [task for task in folded.tasks.values() if task.state == "COMPENSATING"]
        stuck = [task for task in folded.tasks.values() if task.state == "COMPENSATION_FAILED"]
        if folded.state == "ROLLING_BACK" and len(undoing) != 1:
            yield Violation("S15", key, f"rolling back, and {len(undoing)} tasks are being undone")
        if folded.state == "ROLLBACK_FAILED" and not stuck:
            yield Violation("S15", key, "the rollback stands still, and no compensation has failed")
        if folded.state not in ("ROLLING_BACK", "ROLLBACK_FAILED") and (undoing or stuck):
            yield Violation("S15", key, f"{folded.state}, and something is still being undone")
    yield from _undone_in_order(evidence)


def _undone_in_order(evidence: Evidence) -> Iterator[Violation]:
    """The ledger's word for it: of one instance, compensations have had their first effects in the log's order."""
    firsts: dict[tuple[str, str, str, int], float] = {}
    for effect in evidence.effects or ():
        key = effect.attempt_key
        if key.compensation:
            firsts.setdefault((key.instance, key.stage, key.task, key.attempt), effect.effect)
    for instance in evidence.facts.instances.values():
        moments = [
            (moment, str(event))
            for event in instance.events
            if event.name == "CompensationCompleted"
            and (moment := firsts.get((instance.id, event.stage or "", event.task or "", event.attempt or 0)))
        ]
        if moments != sorted(moments, key=lambda one: one[0]):
            yield Violation("S15", instance.id, "the services have undone it in another order than the log says")


def s16(evidence: Evidence) -> Iterator[Violation]:
    """Instance snapshot hash = hash of the template version it names, at start and at end."""
    for instance in evidence.facts.instances.values():
        row, template = instance.row, evidence.facts.templates.get(instance.row.template_id)
        if template is None:
            yield Violation("S16", instance.id, "its template is gone")
            continue
        named = (row.workflow_name, row.component_name, row.version)
        if named != (template.workflow_name, template.component_name, template.version):
            yield Violation("S16", instance.id, f"it says {named}, its template is v{template.version}")
        if instance.events and instance.events[0].data.get("version") != row.version:
            yield Violation("S16", instance.id, "it was started on another version")
        yield from _other_template(evidence, instance)
    for template in evidence.facts.templates.values():
        if template.fingerprint != _fingerprint(template.definition):
            yield Violation("S16", template.id, "the definition is not what it was published as")
    for anchor in evidence.anchors:
        for key, digest in anchor["templates"].items():
            now = evidence.facts.templates.get(key)
            if now is None or template_digest(now) != digest:
                yield Violation("S16", key, "the template was changed or is gone")


def _other_template(evidence: Evidence, instance: Instance) -> Iterator[Violation]:
    """What the messages carry is of the version that the instance has started with, and of no other."""
    for row in instance.outbox:
        says = evidence.facts.task_of(instance, row.stage_name, row.task_name)
        how = says.get("compensate") or {}
        body = json.loads(row.payload)
        queue = how.get("task_queue") if body.get("compensation") else says.get("task_queue")
        extra = {name: value for name, value in says.items() if name not in _KNOWN}
        if body.get("compensation"):
            extra |= {name: value for name, value in how.items() if name not in _KNOWN_UNDOING}
        if row.queue != queue or any(body.get(name) != value for name, value in extra.items()):
            yield Violation("S16", instance.id, f"{row.event_name} of {row.task_name} is not of version"
                            f" {instance.row.version}")  # fmt: skip


_KNOWN_UNDOING = frozenset({"task_queue", "step", "assigned_to", "retry", "timeout_seconds"})
_KNOWN = _KNOWN_UNDOING | {
    "task_name", "task_type", "parent_task", "business_status", "title", "description", "form", "outcomes",
    "due_in_seconds", "escalate_to", "four_eyes", "quorum", "on_failure", "compensate", "when",
}  # fmt: skip


def _fingerprint(value: Any) -> str:
    """Canonical JSON (contract 2): keys sorted, `1.0` is `1`."""
    text = json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _whole(one) for name, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value


def s17(evidence: Evidence) -> Iterator[Violation]:
    """Audit rows never change: hash of the first k rows at time t1 = same at t2."""
    for anchor in evidence.anchors:
        for key, (count, digest) in anchor["histories"].items():
            instance = evidence.facts.instances.get(key)
            if instance is None or len(instance.events) < count:
                yield Violation("S17", key, "events that were there are gone")
            elif digest_of(instance.events[:count]) != digest:
                yield Violation("S17", key, f"one of its first {count} events was changed")


def s18(evidence: Evidence) -> Iterator[Violation]:
    """Every state change has an actor (user, client, timer, system) and a cause id that exists."""
    held = {str(row.id) for row in evidence.facts.quarantine}
    # In a batch every message has the same moment; which of them were heartbeats, their senders know.
    beats = {one.key for one in evidence.operations or () if one.request.get("event_name") == "TaskStarted"}
    for instance in evidence.facts.instances.values():
        for event in instance.events:
            if not event.actor or event.actor not in evidence.facts.users | SYSTEM:
                yield Violation("S18", str(event), f"nobody is called {event.actor!r}")
            found = re.fullmatch(r"quarantine:(.+)", event.cause or "")
            if found and found[1] not in held:
                yield Violation("S18", str(event), f"there is no {event.cause}")
        blame = {event.cause for event in instance.events}
        for row in instance.handled:
            # A message that changed nothing (a repeated heartbeat) is known by its id all the same.
            if row.event_id not in blame | beats and not _changed_nothing(instance, row.event_id):
                yield Violation("S18", instance.id, f"{row.event_id} was applied, and no event names it as its cause")


def _changed_nothing(instance: Instance, event_id: str) -> bool:
    """Tell whether a message left no event; one that was handed in again has its place in quarantine as its cause."""
    row = next(one for one in instance.handled if one.event_id == event_id)
    then = [event for event in instance.events if event.at == row.handled_at]
    return not then or any((event.cause or "").startswith("quarantine:") for event in then)


def s21(evidence: Evidence) -> Iterator[Violation]:
    """Replay wrote no outbox row, no effect, no change to the original: each message was written in the moment of the
    event that it follows from, and belongs to one.
    """
    for instance, folded in evidence.pairs():
        moments = {_key_of(one): one.event.at for one in folded.sent}
        for row in instance.outbox:
            moment = moments.get(_key_of_row(row))
            if moment is None:
                yield Violation(
                    "S21", instance.id, f"{row.event_name} {row.task_name}#{row.attempt} follows from nothing"
                )
            elif moment != row.created_at:
                yield Violation("S21", instance.id, f"{row.event_name} {row.task_name}#{row.attempt} was written later")


def named_wait(instance: Instance, folded: Folded, task: Task) -> str | None:
    """Tell what a task waits for: a person, a service, a clock, a signal; None: nothing that could ever come."""
    clocks = {(row.kind, row.position, row.compensation): row for row in instance.deadlines}
    if task.signal is not None:
        return f"signal {task.signal}"
    if task.state == "WAITING":
        return "clock" if ("RETRY", task.position, False) in clocks else None
    if task.state == "COMPENSATING" and task.undoing.signal is not None:
        return f"signal {task.undoing.signal}"
    if task.state == "COMPENSATING" and task.undoing.state == "WAITING":
        return "clock" if ("RETRY", task.position, True) in clocks else None
    undoing = task.state == "COMPENSATING"
    how = (task.says.get("compensate") or {}) if undoing else task.says
    if undoing and task.undoing.state not in LIVE:
        return None
    if how.get("timeout_seconds") is not None and ("TASK_TIMEOUT", task.position, undoing) not in clocks:
        return None
    if how.get("assigned_to") or (not undoing and task.says["task_type"] == "HUMAN"):
        return "person"
    return "service"
