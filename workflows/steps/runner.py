"""Runs steps: each in the transaction that records what became of it, so that a crash leaves neither or both."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any

from django.db import DatabaseError, connection, transaction

from workflows import failpoints
from workflows.conf import settings
from workflows.definitions.schema import WorkflowDefinition
from workflows.engine.commands import AwaitSignal, Command, CompleteTask, FailTask, RollBackWorkflow, SkipTask
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.models import TaskInstance, WorkflowInstance
from workflows.models.locking import is_away, is_race
from workflows.runtime import pausing, tracing
from workflows.runtime.asking import Asked, Turn, TurnWork
from workflows.runtime.handling import handle
from workflows.runtime.listeners import Committed
from workflows.runtime.projection import STEP_QUEUE
from workflows.runtime.workers import Worker
from workflows.steps.atomicity import TransactionEnded, inside_its_transaction
from workflows.steps.flows import discover
from workflows.steps.observers import Seen, Turned, UnknownObserver, ask, chosen, tell
from workflows.steps.outcomes import Done, Failed, Outcome, Skipped, StepTask, Waiting
from workflows.steps.state import BadState, copy_of, kept, readable
from workflows.steps.step import UnknownStep, find

logger = logging.getLogger(__name__)

_ROUND = 50
_OF_ONE_INSTANCE = 3
"""How many steps of one instance a round holds: the one with thousands waits for the others, not they for it."""
_LOOKS = 4
_PAUSE = 0.2
"""Seconds until what could not be run is looked at again."""
_LONGEST_NAME = 200

# Note [Who runs which step]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~
# A step runs under its instance's lock, and whoever comes second finds that it is not its turn any more. That is safe,
# but runners that go down the same list would wait for each other at every step. So threads of one process share what
# they have in hand, and a runner passes over an instance whose lock somebody holds at the moment.


@dataclass(frozen=True, slots=True)
class _Due:
    """A step whose turn has come."""

    instance: uuid.UUID
    stage_name: str
    task_name: str
    compensation: bool


class InHand:
    """The instances of which this process runs a step just now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instances: set[uuid.UUID] = set()

    @contextmanager
    def taking(self, instance: uuid.UUID) -> Iterator[bool]:
        """This will take the instance while the block lasts, and tell whether it could be had."""
        with self._lock:
            free = instance not in self._instances
            if free:
                self._instances.add(instance)
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._instances.discard(instance)


class StepRunner:
    """Takes steps whose turn has come, oldest first, and runs them. `now` tells the time.

    Runners of one process share `in_hand`. See Note [Who runs which step].
    """

    def __init__(self, *, now: Callable[[], dt.datetime], in_hand: InHand | None = None, name: str = "steps") -> None:
        discover()
        self._now = now
        self._in_hand = in_hand or InHand()
        self.worker = Worker(name=name, work=self.run_due)

    def heard(self, committed: Committed) -> None:
        """This will wake the runner when a commit has brought it work."""
        if committed.steps or committed.everything:
            self.worker.wake()

    def run_due(self) -> float | None:
        """This will run a round of what is there, one transaction each, until it is told to end."""
        if pausing.known.now() is not None:
            return None
        due, more = _round()
        put_off = False
        failures = 0
        for step in due:
            if self.worker.stopping or pausing.known.now() is not None:
                break
            with self._in_hand.taking(step.instance) as free:
                if not (free and _is_free(step.instance)):
                    put_off = True
                    continue
                try:
                    self._run(step)
                except Exception as error:
                    if is_away(error):
                        raise
                    # A broken row, say: it keeps nobody else's steps from running.
                    failures += 1
                    logger.exception("A step of %s could not be run", step.instance)
        if put_off or failures:
            return _PAUSE
        return 0 if more else None

    def _run(self, step: _Due) -> None:
        run_step(
            step.instance,
            stage_name=step.stage_name,
            task_name=step.task_name,
            compensation=step.compensation,
            at=self._now(),
        )


def _round() -> tuple[list[_Due], bool]:
    """The next steps, the first of each instance before the second of any; and whether there are more."""
    turns: dict[uuid.UUID, list[_Due]] = {}
    chosen = 0
    more = False
    for _ in range(_LOOKS):
        rows = _offered(without=turns, most=_ROUND)
        for instance, stage_name, task_name, state in rows:
            mine = turns.setdefault(instance, [])
            if len(mine) < _OF_ONE_INSTANCE:
                mine.append(_Due(instance, stage_name, task_name, state == TaskState.COMPENSATING))
                chosen += 1
            else:
                more = True
        if len(rows) < _ROUND:
            break
        more = True
        if chosen >= _ROUND:
            break
    rounds = zip_longest(*turns.values())
    return [step for turn in rounds for step in turn if step is not None], more


def _offered(*, without: Collection[uuid.UUID], most: int) -> list[tuple[uuid.UUID, str, str, str]]:
    return list(
        TaskInstance.objects.on_offer(STEP_QUEUE)
        .exclude(instance__state=InstanceState.SUSPENDED)
        .exclude(instance__in=without)
        .order_by("offered_at", "id")
        .values_list("instance", "stage_name", "task_name", "state")[:most]
    )


def _is_free(instance: uuid.UUID) -> bool:
    """Whether nobody holds the instance just now. A hint: the next moment may be another's."""
    if not connection.features.has_select_for_update_skip_locked or connection.in_atomic_block:
        return True
    with transaction.atomic():
        rows = WorkflowInstance.objects.filter(pk=instance).select_for_update(skip_locked=True, no_key=True)
        return rows.values_list("pk", flat=True).first() is not None


def run_step(instance: uuid.UUID, *, stage_name: str, task_name: str, compensation: bool, at: dt.datetime) -> None:
    """This will run one step, if it is still its turn once the instance is locked."""
    later: list[Callable[[], None]] = []
    work = partial(_perform, later=later)
    turn = Turn(stage_name=stage_name, task_name=task_name, compensation=compensation, work=work)
    handle(Asked(command=turn, target=instance, actor="step"), at=at)
    for call in later:
        transaction.on_commit(call, robust=True)


def _perform(work: TurnWork, *, later: list[Callable[[], None]]) -> Command:
    # The door may do it all once more, after a deadlock: then what was said of the first time is not true.
    later.clear()
    definition, snapshot, task = work.definition, work.snapshot, work.task
    undoing, compensate = task.compensation, definition.compensate
    attempt = undoing if work.compensation and undoing else task
    name = compensate.step if work.compensation and compensate else definition.step
    told = StepTask(
        instance_id=snapshot.instance_id,
        business_ref_no=snapshot.business_ref_no,
        stage_name=definition.stage_name,
        task_name=definition.task_name,
        attempt=attempt.attempt,
        context=copy_of(snapshot.context),
        compensation=work.compensation,
        signal=attempt.inbox,
        memory=attempt.memory,
        output=undoing.output if work.compensation and undoing else None,
        possible=bool(work.compensation and undoing and undoing.possible),
        position=definition.position,
        woken=attempt.woken,
        trace=tracing.of_attempt(
            uuid.UUID(snapshot.instance_id),
            snapshot.trace,
            position=definition.position,
            attempt=attempt.attempt,
            compensation=work.compensation,
        ),
        extra={**definition.extra, **(compensate.extra if work.compensation and compensate else {})},
    )
    about: dict[str, Any] = {
        "stage_name": told.stage_name,
        "task_name": told.task_name,
        "attempt": told.attempt,
        "compensation": work.compensation,
    }
    try:
        with work.savepoint():
            failpoints.hit("step_begin")
            with inside_its_transaction():
                outcome = _observed(name or "", told, work.workflow, later)
            failpoints.hit("step_end")
            if isinstance(outcome, Done):
                return CompleteTask(**about, output=kept(outcome.output))
            if isinstance(outcome, Waiting):
                return AwaitSignal(**about, name=_name(outcome.signal), memory=kept(outcome.memory, what="memory"))
            if isinstance(outcome, Skipped):
                raise _HadNothingToDo(outcome.reason)
            raise _GaveUp(outcome)
    except _WasTurned as error:
        return RollBackWorkflow(reason=readable(error.turned.reason), guard=error.turned.guard)
    except UnknownObserver as error:
        return FailTask(**about, error={"code": "unknown_observer", "message": str(error)})
    except _HadNothingToDo as nothing:
        return SkipTask(**about, reason=readable(nothing))
    except TransactionEnded as error:
        return FailTask(**about, error={"code": "transaction_ended", "message": readable(error)})
    except BadState as error:
        where = {"pointer": readable(error.pointer)}
        return FailTask(**about, error={"code": error.code, "message": readable(error), "details": where})
    except _GaveUp as gave_up:
        return FailTask(**about, error=gave_up.error)
    except UnknownStep:
        return FailTask(**about, error={"code": "unknown_step", "message": f"No step {name!r} is registered here."})
    except (Exception, SystemExit) as error:
        if isinstance(error, DatabaseError) and (is_away(error) or is_race(error)):
            # Nobody's failure: the whole turn is tried again.
            raise
        # SystemExit, too: a step that calls sys.exit() has failed, and ends nobody but itself.
        logger.exception("The step %s failed", name)
        return FailTask(**about, error={"code": type(error).__name__, "message": readable(error)})


def _name(signal: object) -> str:
    if isinstance(signal, str) and 0 < len(signal) <= _LONGEST_NAME:
        return str(kept(signal))
    raise _GaveUp(Failed("bad_outcome", f"A step waits for a signal by its name, not for {signal!r:.200}."))


def _observed(name: str, told: StepTask, workflow: WorkflowDefinition, later: list[Callable[[], None]]) -> Outcome:
    """Run the step between its observers."""
    step, observers = find(name), chosen((*settings.STEP_OBSERVERS, *workflow.observers))
    if not observers:
        return step.perform(told)
    before = Seen(told, name, component=workflow.component_name, later=later)
    changes, turned = ask(observers, before)
    if turned is not None:
        raise _WasTurned(turned)
    if changes:
        told = replace(told, context={**told.context, **changes})
    began = time.perf_counter()
    try:
        outcome = step.perform(told)
    except (Exception, SystemExit) as error:
        raised = Failed(type(error).__name__, readable(error))
        tell(observers, replace(before, task=told, outcome=raised, seconds=time.perf_counter() - began))
        raise
    seen = replace(before, task=told, outcome=outcome, seconds=time.perf_counter() - began)
    after, turned = ask(observers, seen)
    if turned is not None:
        raise _WasTurned(turned)
    if isinstance(outcome, Done) and (changes or after):
        return Done({**changes, **outcome.output, **after})
    return outcome


class _WasTurned(Exception):
    """Leaves the savepoint: what a step wrote that a guard has turned does not count."""

    def __init__(self, turned: Turned) -> None:
        super().__init__(turned.reason)
        self.turned = turned


class _HadNothingToDo(Exception):
    """Leaves the savepoint: a step that is skipped has written nothing."""


class _GaveUp(Exception):
    """Leaves the savepoint, so that what a failed step wrote is undone."""

    def __init__(self, outcome: object) -> None:
        message = getattr(outcome, "message", f"A step answers Done, Waiting or Failed, not {outcome!r}.")
        try:
            details = kept(getattr(outcome, "details", None), what="details")
        except BadState as bad:
            # What the step has to say about its failure counts for more than that it says it badly.
            details = {"not_kept": readable(bad)}
        code = readable(getattr(outcome, "code", "bad_outcome"), most=200)
        self.error = {"code": code, "message": readable(message), "details": details}
