"""What was promised to the outside: operations, effects, messages, frames, printed lines (S1-S4, S12, S13, S19-S22)."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tests.faults.evidence import Evidence, Violation
from tests.faults.facts import Event, Instance
from tests.faults.records import FAIL, OK, Operation, sha_of

Reference = tuple[str, str | None, str]


def s1(evidence: Evidence) -> Iterator[Violation]:
    """No acknowledged start is lost: every `ok` start has exactly one instance; every `unknown` start has 0 or 1;
    every `fail` has 0. Same client key → same instance.
    """
    if evidence.operations is None:
        return
    found: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    for one in evidence.facts.instances.values():
        found[one.row.component_name, one.row.business_ref_no].append(one)
    asked: dict[Reference, list[Operation]] = defaultdict(list)
    for operation in _starts(evidence):
        request = operation.request
        asked[
            request["component_name"], request.get("workflow_name"), request["business_ref_no"]
        ].append(operation)  # fmt: skip
    held = {one.message_id for one in evidence.facts.quarantine}
    for (component, workflow, reference), operations in asked.items():
        there = [one for one in found[component, reference] if workflow in (None, one.row.workflow_name)]
        where = f"{component}/{reference}"
        outcomes = {one.outcome for one in operations}
        quarantined = any(_event_id(one) in held for one in operations)
        if OK in outcomes and not there and not quarantined and evidence.calm:
            yield Violation("S1", where, "acknowledged, and not there")
        if len(there) > 1:
            yield Violation("S1", where, f"{len(there)} instances")
        if outcomes == {FAIL} and there:
            yield Violation("S1", where, "refused, and there all the same")
        said = {_told_id(one) for one in operations} - {None}
        if said and not said <= {one.id for one in there}:
            yield Violation("S1", where, f"the callers were told {sorted(map(str, said))}")
    components = {component for component, _, _ in asked}
    references = {(component, reference) for component, _, reference in asked}
    for key, instances in found.items():
        if key[0] in components and key not in references:
            yield Violation("S1", "/".join(key), f"nobody has started {instances[0].id}")


def s2(evidence: Evidence) -> Iterator[Violation]:
    """No acknowledged decision is lost: each `ok` approve/reject has exactly one audit event with that actor, value
    and key; each 409 has none. The same for what operators do.
    """
    if evidence.operations is None:
        return
    people = {row.id: (one, row) for one in evidence.facts.instances.values() for row in one.people}
    decisions: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    acts: dict[tuple[str, ...], list[Operation]] = defaultdict(list)
    for operation in evidence.operations:
        request = operation.request
        if operation.kind == "decision":
            decisions[operation.key, request["by"]].append(operation)
        elif operation.kind == "act":
            acts[
                operation.key, request["by"], request["action"], request.get("stage_name") or "",
                request.get("task_name") or "",
            ].append(operation)  # fmt: skip
    for (key, by), operations in decisions.items():
        if key not in people:
            if any(one.outcome == OK for one in operations):
                yield Violation("S2", key, f"{by} decided it, and it is not there")
            continue
        instance, row = people[key]
        events = [event for event in instance.events if _decides(event, row) and event.data.get("by") == by]
        acknowledged = [one for one in operations if one.outcome == OK]
        if acknowledged and len(events) != 1:
            yield Violation("S2", key, f"{by} was told yes; the history has {len(events)} decisions")
        if {one.outcome for one in operations} == {FAIL} and events:
            yield Violation("S2", key, f"{by} was told no; {events[0]} says otherwise")
        for one in acknowledged:
            wanted = one.request.get("outcome")
            if events and wanted is not None and events[0].data.get("outcome") != wanted:
                yield Violation("S2", key, f"{by} said {wanted}, the history says {events[0].data.get('outcome')}")
    for (key, by, action, stage, task), operations in acts.items():
        yield from _acted(evidence, key, by, action, stage, task, operations)


def _acted(
    evidence: Evidence, key: str, by: str, action: str, stage: str, task: str, operations: list[Operation]
) -> Iterator[Violation]:
    instance = evidence.facts.instances.get(key)
    events = [
        event
        for event in (instance.events if instance else ())
        if event.actor == by
        and event.name in _ACTS[action]
        and (not stage or stage in (event.stage, event.data.get("stage_name")))
        and (not task or task in (event.task, event.data.get("task_name")))
    ]
    where = f"{key} {stage}/{task}".rstrip(" /")
    if any(one.outcome == OK for one in operations) and not events:
        yield Violation("S2", where, f"{by} was told that {action} is done; the history knows nothing of it")
    # What followed from something else that they did (a resume schedules, too) is none of this.
    others = frozenset().union(*_ACTS.values()) - _ACTS[action]
    own = [
        event
        for event in events
        if not any(one.cause == event.cause and one.name in others for one in (instance.events if instance else ()))
    ]
    if {one.outcome for one in operations} == {FAIL} and own:
        yield Violation("S2", where, f"{by} was refused {action}; {own[0]} says otherwise")


def s3(evidence: Evidence) -> Iterator[Violation]:
    """Exactly-once effects per attempt: ledger count per attempt id ≤ 1 for idempotent services, and per idempotency
    key ≤ 1; for each task completed, ≥ 1 effect exists.
    """
    if evidence.effects is None:
        return
    careful = [effect for effect in evidence.effects if effect.idempotent]
    for key, count in Counter(effect.attempt_key for effect in careful).items():
        if count > 1:
            yield Violation("S3", str(key), f"{count} effects of one attempt")
    for name, count in Counter(effect.idempotency_key for effect in careful).items():
        if count > 1:
            yield Violation("S3", name, f"{count} effects under one key")
    did: dict[tuple[str, str, str, bool], int] = {}
    for effect in evidence.effects:
        key = effect.attempt_key
        place = (key.instance, key.stage, key.task, key.compensation)
        did[place] = min(key.attempt, did.get(place, key.attempt))
    for instance in evidence.facts.instances.values():
        for event in instance.events:
            undoing = event.name == "CompensationCompleted"
            if event.name != "TaskCompleted" and not undoing:
                continue
            says = evidence.facts.task_of(instance, event.stage, event.task)
            queue = (says.get("compensate") or {}).get("task_queue") if undoing else says.get("task_queue")
            if queue is None or event.data.get("by_hand") or says["task_type"] == "HUMAN":
                continue
            first = did.get((instance.id, event.stage or "", event.task or "", undoing))
            if first is None or first > (event.attempt or 0):
                yield Violation("S3", str(event), "done, and no service has ever done it")


def s4(evidence: Evidence) -> Iterator[Violation]:
    """Each accepted message id has exactly one inbox row; accepted + duplicates + quarantined = deliveries received."""
    sent = {_event_id(one) for one in evidence.operations or () if one.kind == "event"} - {""}
    for instance in evidence.facts.instances.values():
        counts = Counter(row.event_id for row in instance.handled)
        for name, count in counts.items():
            if count > 1:
                yield Violation("S4", instance.id, f"{name} is in the inbox {count} times")
        blocks: dict[str, list[list[Event]]] = defaultdict(list)
        for event in instance.events:
            if event.cause is None or event.name == "InputRefused":
                continue
            known = blocks[event.cause]
            if known and known[-1][-1].sequence + 1 == event.sequence and known[-1][-1].at == event.at:
                known[-1].append(event)
            else:
                known.append([event])
        for cause, groups in blocks.items():
            if (cause in counts or cause in sent) and len(groups) > 1:
                yield Violation("S4", instance.id, f"{cause} was applied {len(groups)} times, last as {groups[-1][0]}")
    if evidence.operations is None or not evidence.calm:
        return
    accounts = _Accounts(evidence)
    for operation in evidence.operations:
        if operation.kind == "event" and operation.outcome == OK and not accounts.has(operation):
            name = f"{operation.request.get('event_name')} {_event_id(operation)}"
            yield Violation("S4", operation.key, f"{name} was acknowledged, and is nowhere: not applied, not a"
                            " duplicate, not refused, not in quarantine")  # fmt: skip


class _Accounts:
    """Where an acknowledged message may be found."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._held = {row.message_id for row in evidence.facts.quarantine}
        self._bodies = {row.body for row in evidence.facts.quarantine}
        self._by_reference: dict[tuple[str, str], list[Instance]] = defaultdict(list)
        self._handled: set[tuple[str, str]] = set()
        self._causes: set[tuple[str, str]] = set()
        for one in evidence.facts.instances.values():
            self._by_reference[one.row.component_name, one.row.business_ref_no].append(one)
            self._handled.update((one.id, row.event_id) for row in one.handled)
            self._causes.update((one.id, event.cause) for event in one.events if event.cause is not None)

    def has(self, operation: Operation) -> bool:
        """Tell whether the message has left a trace, or needs none."""
        request, name = operation.request, _event_id(operation)
        raw = request.get("raw")
        if {name, request.get("message_id")} & self._held - {"", None} or (raw is not None and raw in self._bodies):
            return True
        instances = self._by_reference[str(request.get("component_name")), str(request.get("business_ref_no"))]
        if name and any((one.id, name) in self._handled or (one.id, name) in self._causes for one in instances):
            return True
        return any(self._explained(one, request) for one in instances)

    def _refused(self, instance: Instance, request: Mapping[str, Any]) -> bool:
        """Tell whether the history keeps the message as a refused input. One without an id is known by what it says."""
        said = ("event_name", "stage_name", "task_name", "attempt", "output", "error")
        return any(
            event.name == "InputRefused"
            and all(event.data.get("input", {}).get(name) == request.get(name) for name in said)
            for event in instance.events
        )

    def _explained(self, instance: Instance, request: Mapping[str, Any]) -> bool:
        """Tell whether the history explains a message that left no trace of its own: a duplicate."""
        kind, attempt = request.get("event_name"), request.get("attempt")
        if kind == "StartWorkflow" or self._refused(instance, request):
            return True
        about = [
            event
            for event in instance.events
            if (event.stage, event.task) == (request.get("stage_name"), request.get("task_name"))
            and (attempt is None or event.attempt == attempt)
        ]
        names = _SAID.get(str(kind), frozenset())
        if request.get("compensation"):
            names = frozenset(name.replace("Task", "Compensation") for name in names) | names
        return any(event.name in names for event in about)


def s12(evidence: Evidence) -> Iterator[Violation]:
    """Every message seen by a fake service has an outbox row with the same id and body hash (no ghost publish, also
    after rollback).
    """
    if evidence.deliveries is None:
        return
    written = {
        row.message_id: sha_of(row.payload.encode()) for one in evidence.facts.instances.values() for row in one.outbox
    }
    for delivery in evidence.deliveries:
        if delivery.message_id not in written:
            yield Violation("S12", str(delivery.attempt_key), f"{delivery.message_id} was never written down")
        elif delivery.body_sha and delivery.body_sha != written[delivery.message_id]:
            yield Violation("S12", str(delivery.attempt_key), f"{delivery.message_id} says something else")


def s13(evidence: Evidence) -> Iterator[Violation]:
    """Row marked sent ⇒ the service queue received that id (broker/ledger), or it is in a queue now."""
    if evidence.deliveries is None or evidence.depths is None:
        return
    received = {delivery.message_id for delivery in evidence.deliveries}
    missing: dict[str, list[str]] = defaultdict(list)
    for one in evidence.facts.instances.values():
        for row in one.outbox:
            if row.state == "SENT" and row.message_id not in received and not _swept_away(evidence, row):
                missing[row.queue].append(f"{row.event_name} {row.stage_name}/{row.task_name} of {one.id}")
    for queue, messages in missing.items():
        depth = evidence.depths.get(queue)
        there = depth.ready + depth.unacknowledged if depth else 0
        if len(messages) > there:
            text = f"{len(messages)} marked sent and never received, {there} still there, e.g. {messages[0]}"
            yield Violation("S13", queue, text)


def _swept_away(evidence: Evidence, row: Any) -> bool:
    return any(first - 1 <= row.sent_at.timestamp() <= last for first, last in evidence.deleted.get(row.queue, ()))


def s19(evidence: Evidence) -> Iterator[Violation]:
    """No frame reached a socket whose user lacked permission at send time; each socket's seq per I is increasing;
    final client view = final API view; nobody was told of what never happened.
    """
    last: dict[tuple[str, str], int] = {}
    ends = {f"instance:{key}": one.row.last_sequence for key, one in evidence.facts.instances.items()}
    for frame in evidence.frames:
        key = str(frame["socket"]), str(frame["topic"])
        where = f"{key[0]} {key[1]}"
        if not frame.get("allowed", True):
            yield Violation("S19", where, "the user was not allowed to see this")
        sequence = frame.get("sequence")
        if sequence is not None:
            if sequence <= last.get(key, -1):
                yield Violation("S19", where, f"{sequence} after {last[key]}")
            last[key] = sequence
            if key[1].startswith("instance:") and sequence > ends.get(key[1], 0):
                yield Violation("S19", where, f"told of event {sequence}, which never happened")
        if "view" in frame and frame["view"] != frame["truth"]:
            yield Violation("S19", where, f"the client ends with {frame['view']!r}, the site with {frame['truth']!r}")


def s20(evidence: Evidence) -> Iterator[Violation]:
    """No unquarantined exception: error log lines with tracebacks = quarantine rows + expected list."""
    expected = [re.compile(pattern) for pattern in evidence.expected]
    for path in evidence.logs:
        if path.exists():
            for last in _tracebacks(path.read_text(errors="replace")):
                if not any(pattern.search(last) for pattern in expected):
                    yield Violation("S20", path.name, last)


def _tracebacks(text: str) -> Iterator[str]:
    """The last line of each traceback, whether it was printed plainly or inside a JSON line."""
    inside = False
    for line in text.splitlines():
        if "Traceback (most recent call last)" in line:
            if "\\n" in line:
                told = line.split("Traceback (most recent call last)", 1)[1]
                yield re.split(r"\\n(?=\S)", told.split('",')[0].split('"}')[0].rstrip("\\n"))[-1]
                inside = False
            else:
                inside = True
        elif inside and line and not line[0].isspace():
            inside = False
            yield line


def s22(evidence: Evidence) -> Iterator[Violation]:
    """No secret marker planted in payload/headers/env appears in logs, audit, exports, error bodies, metrics."""
    if not evidence.secrets:
        return
    for path in evidence.logs:
        if path.exists():
            text = path.read_text(errors="replace")
            yield from (Violation("S22", path.name, "a secret is printed") for one in evidence.secrets if one in text)
    for instance in evidence.facts.instances.values():
        for event in instance.events:
            told = json.dumps(event.data)
            yield from (Violation("S22", str(event), "a secret is told") for one in evidence.secrets if one in told)
    for operation in evidence.operations or ():
        told = json.dumps(operation.answer, default=str)
        yield from (Violation("S22", operation.key, "a secret is answered") for one in evidence.secrets if one in told)


# --- helpers ------------------------------------------------------------------------------------------------------

_ACTS: Mapping[str, frozenset[str]] = {
    "suspend": frozenset({"WorkflowSuspended"}),
    "resume": frozenset({"WorkflowResumed"}),
    "cancel": frozenset({"WorkflowCancelled"}),
    "rollback": frozenset({"RollbackStarted"}),
    "retry": frozenset({"TaskScheduled", "CompensationScheduled"}),
    "skip": frozenset({"TaskSkipped", "CompensationSkipped"}),
    "complete": frozenset({"TaskCompleted", "CompensationCompleted"}),
    "fail": frozenset({"TaskFailed"}),
    "replay": frozenset({"ReplayRequested"}),
    "claim": frozenset({"TaskClaimed"}),
    "release": frozenset({"TaskReleased"}),
    "reassign": frozenset({"TaskReassigned"}),
    "comment": frozenset({"TaskCommented"}),
}
_SAID: Mapping[str, frozenset[str]] = {
    "TaskStarted": frozenset({"TaskStarted", "TaskClaimed", "TaskCompleted", "TaskFailed"}),
    "TaskCompleted": frozenset({"TaskCompleted"}),
    "TaskFailed": frozenset({"TaskFailed"}),
    "TaskPending": frozenset(),
    "Signal": frozenset(),
}
"""What a history holds where a message of this name was a duplicate by state (contract 3.1, a result's way)."""


def _starts(evidence: Evidence) -> Iterator[Operation]:
    for operation in evidence.operations or ():
        if operation.kind == "start" or operation.request.get("event_name") == "StartWorkflow":
            yield operation


def _event_id(operation: Operation) -> str:
    request = operation.request
    return str(request.get("event_id") or request.get("message_id") or "")


def _told_id(operation: Operation) -> str | None:
    if operation.outcome != OK:
        return None
    told = operation.answer.get("id") or (operation.answer.get("instance") or {}).get("id")
    return str(told) if told else None


def _decides(event: Event, row: Any) -> bool:
    names = ("CompensationCompleted", "CompensationFailed") if row.compensation else _DECISIONS
    about = (event.stage, event.task, event.attempt) == (row.stage_name, row.task_name, row.attempt)
    return event.name in names and about


_DECISIONS = ("TaskCompleted", "TaskFailed", "TaskReturned")
