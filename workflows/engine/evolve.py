"""One event and a snapshot give the next snapshot. Folding a history gives the state; nothing here decides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import events as e
from workflows.engine.draft import APPLIERS, Draft
from workflows.engine.events import Event
from workflows.engine.growth import grown_by
from workflows.engine.lifecycle import UNDOING, InstanceState, StageState, TaskState
from workflows.engine.snapshot import COMPLETED_RESULT, FAILED_RESULT, Compensation, Snapshot, Task

_S = InstanceState
_T = TaskState


def fold(
    definition: WorkflowDefinition, history: Iterable[tuple[dt.datetime, Event]], *, instance_id: str
) -> Snapshot | None:
    """This will replay a history from its beginning; an empty one gives None."""
    draft: Draft | None = None
    for at, event in history:
        if draft is None:
            draft = Draft(definition, None, at=at, instance_id=instance_id)
        draft.at = at
        draft.apply(event)
    return draft.freeze() if draft is not None else None


def catch_up(
    definition: WorkflowDefinition, snapshot: Snapshot, history: Iterable[tuple[dt.datetime, Event]]
) -> Snapshot:
    """This will bring a snapshot up to date with the events that followed it."""
    draft = Draft(definition, snapshot, at=snapshot.updated_at)
    for at, event in history:
        draft.at = at
        draft.apply(event)
    return draft.freeze()


def _after(at: dt.datetime, seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else at + dt.timedelta(seconds=seconds)


# --- the instance ---------------------------------------------------------------------------------


def _workflow_started(draft: Draft, event: Event) -> None:
    data = event.data
    draft.state = _S.RUNNING
    draft.business_ref_no = data["business_ref_no"]
    draft.started_by = data["started_by"]
    draft.context = data["context"]
    draft.trace = data.get("trace", "")
    draft.created_at = draft.at
    draft.timeout_at = _after(draft.at, draft.definition.timeout_seconds)


def _workflow_failed(draft: Draft, event: Event) -> None:
    draft.state = _S.FAILED


def _workflow_timed_out(draft: Draft, event: Event) -> None:
    draft.state, draft.timed_out, draft.timeout_at = _S.FAILED, True, None


def _workflow_running(draft: Draft, event: Event) -> None:
    draft.state = _S.RUNNING


def _workflow_resumed(draft: Draft, event: Event) -> None:
    draft.state, draft.timed_out = _S.RUNNING, False  # whoever resumes it accepts the delay


def _workflow_suspended(draft: Draft, event: Event) -> None:
    draft.state = _S.SUSPENDED


def _workflow_completed(draft: Draft, event: Event) -> None:
    draft.state, draft.finished_at, draft.active_stage = _S.COMPLETED, draft.at, -1
    draft.timed_out, draft.timeout_at = False, None


def _workflow_cancelled(draft: Draft, event: Event) -> None:
    draft.state, draft.finished_at, draft.active_stage = _S.CANCELLED, draft.at, -1
    draft.timeout_at = None


def _signal_received(draft: Draft, event: Event) -> None:
    draft.signals = (*draft.signals, (event.data["name"], event.data.get("payload")))


def _replay_requested(draft: Draft, event: Event) -> None:
    if draft.state == _S.COMPLETED:
        draft.state, draft.finished_at = _S.RUNNING, None


def _rollback_started(draft: Draft, event: Event) -> None:
    draft.state, draft.active_stage, draft.timeout_at = _S.ROLLING_BACK, -1, None


def _rollback_failed(draft: Draft, event: Event) -> None:
    draft.state = _S.ROLLBACK_FAILED


def _rollback_resumed(draft: Draft, event: Event) -> None:
    draft.state = _S.ROLLING_BACK


def _rollback_completed(draft: Draft, event: Event) -> None:
    draft.state, draft.finished_at = _S.ROLLED_BACK, draft.at


def _nothing(draft: Draft, event: Event) -> None:
    """Recorded only."""


# --- stages ---------------------------------------------------------------------------------------


def _stage(draft: Draft, event: Event, **changes: Any) -> int:
    assert event.stage_name is not None
    position = draft.definition.stage_positions[event.stage_name]
    draft.put_stage(position, draft.stages[position]._replace(**changes))
    return position


def _stage_activated(draft: Draft, event: Event) -> None:
    position = _stage(draft, event, state=StageState.ACTIVE, activated_at=draft.at, finished_at=None)
    draft.active_stage = position
    where = draft.definition.stages[position]
    if where.activity is None:
        _ripen(draft, where.first, where.end)


def _ripen(draft: Draft, first: int, end: int) -> None:
    tasks = draft.tasks
    draft.ripe.extend(at for at in range(first, end) if not tasks[at].waiting_for and tasks[at].state == _T.PENDING)


def _phase_started(draft: Draft, event: Event) -> None:
    stage = _stage(draft, event, phase=event.data["phase"])
    if "again" not in event.data:
        draft.grow(grown_by(draft.definition, event), stage)
    frozen = draft.definition.stages[stage].frozen(event.data["phase"])
    assert frozen is not None
    _ripen(draft, frozen.first, frozen.end)


def _stage_completed(draft: Draft, event: Event) -> None:
    _stage(draft, event, state=StageState.COMPLETED, finished_at=draft.at)
    draft.active_stage = -1


def _stage_skipped(draft: Draft, event: Event) -> None:
    _stage(draft, event, state=StageState.SKIPPED, finished_at=draft.at)
    draft.active_stage = -1


def _stage_cancelled(draft: Draft, event: Event) -> None:
    _stage(draft, event, state=StageState.CANCELLED, finished_at=draft.at)


def _stage_reset(draft: Draft, event: Event) -> None:
    position = _stage(draft, event, state=StageState.PENDING, activated_at=None, finished_at=None, phase=None)
    if draft.active_stage == position:
        draft.active_stage = -1


# --- tasks ----------------------------------------------------------------------------------------


def _task_scheduled(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    definition, was = draft.definition.tasks[position], draft.tasks[position]
    draft.put(
        position,
        was._replace(
            state=_T.SCHEDULED,
            attempt=event.attempt or 0,
            failures=0 if "round" in data else was.failures,
            result=None,
            spent=False,
            output=None,
            outcome=None,
            assigned_to=data.get("assigned_to"),
            assigned_kind=data.get("assigned_kind", ""),
            claimed_by=None,
            due_at=_after(draft.at, definition.due_in_seconds),
            scheduled_at=draft.at,
            started_at=None,
            finished_at=None,
            retry_at=None,
            timeout_at=_after(draft.at, definition.timeout_seconds),
            signal=None,
            inbox=None,
            memory=None,
            woken=False,
            withdrawn=False,
        ),
    )


def _task_started(draft: Draft, event: Event) -> None:
    _held(draft, event, state=_T.STARTED, started_at=draft.at)


def _task_claimed(draft: Draft, event: Event) -> None:
    _held(draft, event, state=_T.STARTED, started_at=draft.at, claimed_by=event.data["by"])


def _task_released(draft: Draft, event: Event) -> None:
    _held(draft, event, state=_T.SCHEDULED, started_at=None, claimed_by=None)


def _task_reassigned(draft: Draft, event: Event) -> None:
    data = event.data
    _held(
        draft,
        event,
        state=_T.SCHEDULED,
        started_at=None,
        claimed_by=None,
        assigned_to=data["assigned_to"],
        assigned_kind=data["assigned_kind"],
    )


def _held(draft: Draft, event: Event, **changes: Any) -> None:
    position, data = _at(event)
    was = draft.tasks[position]
    if data.get("compensation"):
        draft.put(position, was._replace(compensation=_undoing(was)._replace(**changes)))
    else:
        draft.put(position, was._replace(**changes))


def _task_completed(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    was = draft.tasks[position]
    output = data.get("output")
    if output:
        draft.context = {**draft.context, **output}
    status = draft.definition.tasks[position].business_status
    if status is not None and "late" not in data:
        draft.business_status = status
    _decided(draft, position, data)
    draft.put(
        position,
        was._replace(
            # A late completion while an older attempt is being undone: that goes on, and this one is undone after it.
            state=was.state if was.state in UNDOING else _T.COMPLETED,
            # What is done by hand is no result of the attempt; one that was accepted before stays so.
            result=was.result if "by_hand" in data else COMPLETED_RESULT,
            spent=False,
            failures=0,
            output=output,
            outcome=data.get("outcome"),
            error=None,
            claimed_by=data.get("by", was.claimed_by),
            finished_at=draft.at,
            retry_at=None,
            timeout_at=None,
            signal=None,
            done_attempt=was.attempt,
            done_order=draft.last_sequence,
            done_output=output,
            done_possible=False,
            withdrawn=False,
        ),
    )


def _task_failed(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    was = draft.tasks[position]
    _decided(draft, position, data)
    draft.put(
        position,
        was._replace(
            state=_T.FAILED,
            result=was.result if "by_hand" in data else FAILED_RESULT,
            spent=data["spent"],
            failures=was.failures + 1,
            outcome=data.get("outcome"),
            error=data["error"],
            claimed_by=data.get("by", was.claimed_by),
            finished_at=draft.at,
            retry_at=None,
            timeout_at=None,
            signal=None,
            **_to_be_undone(draft, position),
        ),
    )


def _to_be_undone(draft: Draft, position: int) -> dict[str, Any]:
    """What is kept of an attempt that is over and may have had its effect, where that is undone, too."""
    how = draft.definition.tasks[position].compensate
    if how is None or not how.after_failure:
        return {}
    attempt = draft.tasks[position].attempt
    return {"done_attempt": attempt, "done_order": draft.last_sequence, "done_output": None, "done_possible": True}


def _task_returned(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    _decided(draft, position, data)
    draft.put(position, draft.tasks[position]._replace(outcome=data["outcome"], claimed_by=data["by"]))


def _retry_scheduled(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    was, when = draft.tasks[position], dt.datetime.fromisoformat(data["retry_at"])
    if data.get("compensation"):
        undoing = _undoing(was)._replace(state=_T.WAITING, retry_at=when, timeout_at=None)
        draft.put(position, was._replace(compensation=undoing))
    else:
        draft.put(position, was._replace(state=_T.WAITING, retry_at=when))


def _task_skipped(draft: Draft, event: Event) -> None:
    _closed(draft, event, _T.SKIPPED)


def _task_cancelled(draft: Draft, event: Event) -> None:
    withdrawn = "rollback" in event.data and "withdrew" in event.data
    undone = _to_be_undone(draft, _at(event)[0]) if withdrawn else {}
    _closed(draft, event, _T.CANCELLED, withdrawn=withdrawn, **undone)


def _closed(draft: Draft, event: Event, state: str, **changes: Any) -> None:
    position, _ = _at(event)
    was = draft.tasks[position]
    draft.put(
        position,
        was._replace(
            state=state, finished_at=draft.at, retry_at=None, timeout_at=None, signal=None, spent=False, **changes
        ),
    )


def _task_reset(draft: Draft, event: Event) -> None:
    position, _ = _at(event)
    was = draft.tasks[position]
    draft.put(
        position,
        was._replace(
            state=_T.PENDING,
            failures=0,
            spent=False,
            claimed_by=None,
            finished_at=None,
            retry_at=None,
            timeout_at=None,
            signal=None,
        ),
    )


def _signal_awaited(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    was = draft.tasks[position]
    waiting = {"state": _T.WAITING, "signal": data["name"], "memory": data.get("memory"), "inbox": None, "woken": False}
    since = (_undoing(was) if data.get("compensation") else was).started_at or draft.at
    _held(draft, event, started_at=since, **waiting)


def _step_woken(draft: Draft, event: Event) -> None:
    _, data = _at(event)
    name = data["name"]
    kept = [at for at, (known, _) in enumerate(draft.signals) if known == name]
    if kept:
        draft.signals = draft.signals[: kept[0]] + draft.signals[kept[0] + 1 :]
    _held(draft, event, state=_T.SCHEDULED, signal=None, inbox=data.get("payload"), woken=True)


# --- undoing --------------------------------------------------------------------------------------


def _compensation_scheduled(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    was = draft.tasks[position]
    how = draft.definition.tasks[position].compensate
    undoing = _undoing(was)
    draft.put(
        position,
        was._replace(
            state=_T.COMPENSATING,
            compensation=undoing._replace(
                attempt=event.attempt or 0,
                state=_T.SCHEDULED,
                failures=0 if "round" in data else undoing.failures,
                result=None,
                undoes_attempt=data["undoes_attempt"],
                possible=data.get("effect") == "possible",
                output=was.done_output if data["undoes_attempt"] == was.done_attempt else undoing.output,
                assigned_to=data.get("assigned_to"),
                assigned_kind=data.get("assigned_kind", ""),
                claimed_by=None,
                scheduled_at=draft.at,
                started_at=None,
                retry_at=None,
                timeout_at=_after(draft.at, how.timeout_seconds if how else None),
                signal=None,
                inbox=None,
                memory=None,
                woken=False,
            ),
        ),
    )


def _compensation_completed(draft: Draft, event: Event) -> None:
    result = None if "by_hand" in event.data else COMPLETED_RESULT
    _undone(draft, event, _T.COMPENSATED, _T.COMPLETED, result)


def _compensation_skipped(draft: Draft, event: Event) -> None:
    _undone(draft, event, _T.COMPLETED, _T.SKIPPED, None)


def _undone(draft: Draft, event: Event, state: str, attempt_state: str, result: str | None) -> None:
    position, data = _at(event)
    was = draft.tasks[position]
    undoing = _undoing(was)
    draft.put(
        position,
        was._replace(
            state=state,
            done_attempt=0 if was.done_attempt == undoing.undoes_attempt else was.done_attempt,
            compensation=undoing._replace(
                state=attempt_state,
                result=result or undoing.result,
                error=None,
                claimed_by=data.get("by", undoing.claimed_by),
                retry_at=None,
                timeout_at=None,
                signal=None,
            ),
        ),
    )


def _compensation_failed(draft: Draft, event: Event) -> None:
    position, data = _at(event)
    was = draft.tasks[position]
    undoing = _undoing(was)
    draft.put(
        position,
        was._replace(
            state=_T.COMPENSATION_FAILED if data["spent"] else _T.COMPENSATING,
            compensation=undoing._replace(
                state=_T.FAILED,
                failures=undoing.failures + 1,
                result=FAILED_RESULT,
                error=data["error"],
                claimed_by=data.get("by", undoing.claimed_by),
                retry_at=None,
                timeout_at=None,
                signal=None,
            ),
        ),
    )


def _undoing(task: Task) -> Compensation:
    return task.compensation or Compensation()


def _decided(draft: Draft, position: int, data: Mapping[str, Any]) -> None:
    by = data.get("by")
    if by is not None and (by, position) not in draft.deciders:
        draft.deciders = (*draft.deciders, (by, position))


def _at(event: Event) -> tuple[int, Mapping[str, Any]]:
    assert event.position is not None
    return event.position, event.data


APPLIERS.update(
    {
        e.WORKFLOW_STARTED: _workflow_started,
        e.WORKFLOW_FAILED: _workflow_failed,
        e.WORKFLOW_RECOVERED: _workflow_running,
        e.WORKFLOW_SUSPENDED: _workflow_suspended,
        e.WORKFLOW_RESUMED: _workflow_resumed,
        e.WORKFLOW_TIMED_OUT: _workflow_timed_out,
        e.WORKFLOW_COMPLETED: _workflow_completed,
        e.WORKFLOW_CANCELLED: _workflow_cancelled,
        e.SIGNAL_RECEIVED: _signal_received,
        e.REPLAY_REQUESTED: _replay_requested,
        e.ROLLBACK_STARTED: _rollback_started,
        e.ROLLBACK_FAILED: _rollback_failed,
        e.ROLLBACK_RESUMED: _rollback_resumed,
        e.ROLLBACK_COMPLETED: _rollback_completed,
        e.INPUT_REFUSED: _nothing,
        e.STAGE_ACTIVATED: _stage_activated,
        e.STAGE_COMPLETED: _stage_completed,
        e.STAGE_SKIPPED: _stage_skipped,
        e.STAGE_CANCELLED: _stage_cancelled,
        e.STAGE_RESET: _stage_reset,
        e.PHASE_STARTED: _phase_started,
        e.TASK_SCHEDULED: _task_scheduled,
        e.TASK_STARTED: _task_started,
        e.TASK_CLAIMED: _task_claimed,
        e.TASK_RELEASED: _task_released,
        e.TASK_REASSIGNED: _task_reassigned,
        e.TASK_COMMENTED: _nothing,
        e.TASK_COMPLETED: _task_completed,
        e.TASK_FAILED: _task_failed,
        e.TASK_RETURNED: _task_returned,
        e.RETRY_SCHEDULED: _retry_scheduled,
        e.TASK_SKIPPED: _task_skipped,
        e.TASK_CANCELLED: _task_cancelled,
        e.TASK_RESET: _task_reset,
        e.SIGNAL_AWAITED: _signal_awaited,
        e.STEP_WOKEN: _step_woken,
        e.COMPENSATION_SCHEDULED: _compensation_scheduled,
        e.COMPENSATION_COMPLETED: _compensation_completed,
        e.COMPENSATION_FAILED: _compensation_failed,
        e.COMPENSATION_SKIPPED: _compensation_skipped,
    }
)

KNOWN = frozenset(APPLIERS)
"""The names of all events that a history may hold."""
