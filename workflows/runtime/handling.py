"""The one door: commands in, one transaction, answers out. Nothing else moves an instance."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import DatabaseError, connection, transaction

from workflows import failpoints, tracecontext
from workflows.definitions.form_schema import validate
from workflows.definitions.schema import TaskKind, WorkflowDefinition
from workflows.definitions.strict_json import canonical
from workflows.engine.commands import BeginTask, Command, CompleteTask, FailTask, OnTask, StartWorkflow
from workflows.engine.decide import decide, refuse, start
from workflows.engine.decision import Accepted, Duplicate, Rejected
from workflows.engine.lifecycle import ENDED, LIVE, OPEN_HUMAN_TASK, InstanceState
from workflows.engine.rules.subscriptions import Holder
from workflows.engine.snapshot import Snapshot
from workflows.models import HumanTask, Lease, WorkflowInstance
from workflows.models.locking import is_away, is_passing, writing
from workflows.models.writes import Database
from workflows.runtime import attempts, fresh, listeners, loading, moments, pausing
from workflows.runtime.asking import Answer, Asked, InstanceNow, Outcome, Reference, Turn, TurnWork
from workflows.runtime.holding import Holding, named_by
from workflows.runtime.identity import new_instance_id, read_uuid
from workflows.runtime.offers import Offers
from workflows.runtime.pausing import Pause
from workflows.runtime.projection import attempt_of
from workflows.runtime.recording import Recorded, Recorder
from workflows.runtime.refusals import STATUS, is_recorded
from workflows.runtime.world import Directory

log = logging.getLogger(__name__)

_TRIES = 6


def handle(*asked: Asked, at: dt.datetime | None = None) -> list[Answer]:
    """This will carry out commands in one transaction, in their order, and answer each.

    A later command sees what earlier ones did. What the rules refuse is an answer, not an exception. When one command
    blows up (a bug, or a broken row), the others are carried out alone, so that it costs them nothing; a lone one
    raises, and so does a database that is away: ask again, what was carried out already is told apart.
    """
    if not asked:
        return []
    moment = at or moments.now()
    try:
        return _together(asked, moment)
    except Exception as error:
        if len(asked) == 1 or is_away(error):
            raise
        log.exception("A batch of %d commands failed; each is tried alone", len(asked))
    return [_alone(one, moment) for one in asked]


def _alone(asked: Asked, at: dt.datetime) -> Answer:
    try:
        return _together((asked,), at)[0]
    except Exception as error:
        if is_away(error):
            raise
        log.exception("A command failed")
        return Answer(Outcome.REFUSED, code="internal_error", reason=f"The command failed: {type(error).__name__}.")


def _together(asked: Sequence[Asked], at: dt.datetime) -> list[Answer]:
    for again in range(_TRIES):
        try:
            return _once(asked, at)
        except DatabaseError as error:
            last = again == _TRIES - 1
            if last or connection.in_atomic_block or not is_passing(error):
                raise
            time.sleep(random.random() * 0.02 * 2**again)  # noqa: S311 (jitter)
    raise AssertionError("unreachable")


def _once(asked: Sequence[Asked], at: dt.datetime) -> list[Answer]:
    with writing() as database:
        batch = _Batch(database, asked, at)
        answers = [batch.answer(one) for one in asked]
        batch.recorder.write()
    failpoints.hit("after_commit")
    # At once, or when the transaction that somebody else has opened commits, if it does.
    transaction.on_commit(batch.committed)
    return answers


@dataclass(slots=True)
class _Known:
    """An instance that the batch has locked or begun."""

    id: uuid.UUID
    template_id: uuid.UUID
    workflow_name: str
    version: int
    last_sequence: int
    component_name: str = ""
    business_ref_no: str = ""
    work: Recorded | None = None


_COLUMNS = "id, template_id, workflow_name, version, last_sequence, component_name, business_ref_no"
_HANDLED = (
    "SELECT h.instance_id, h.event_id, h.digest FROM {keys} JOIN workflows_handledmessage h"
    " ON h.instance_id = k.a AND h.event_id = k.b"
)


@dataclass(slots=True)
class _Batch:
    """One transaction's work: everything locked and loaded at its beginning, decisions in memory, one write at its
    end.
    """

    database: Database
    asked: Sequence[Asked]
    at: dt.datetime
    recorder: Recorder = field(init=False)
    world: Directory = field(init=False)
    by_id: dict[uuid.UUID, _Known] = field(init=False, default_factory=dict)
    by_reference: dict[tuple[str, str], list[_Known]] = field(init=False, default_factory=dict)
    handled: dict[tuple[uuid.UUID, str], str] = field(init=False, default_factory=dict)
    offers: Offers = field(init=False)
    leases: dict[str, Lease] = field(init=False, default_factory=dict)
    pause: Pause | None = field(init=False)
    holding: Holding = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.database, self.at)
        self.world = Directory(self.database)
        self.offers = Offers(self.database)
        self.holding = Holding(self.at, named=self._named())
        failpoints.hit("before_lock")
        if any(isinstance(one.command, Turn) for one in self.asked):
            self.database.runs_steps()
        self._lock()
        failpoints.hit("after_lock")
        # Behind the lock, for which one may have waited for long: see pausing, Note [Nothing new starts].
        self.pause = pausing.known.now(self.database)
        self._load()

    # --- reading ---

    def _lock(self) -> None:
        ids = sorted({one.target for one in self.asked if isinstance(one.target, uuid.UUID)})
        references = sorted(
            {
                (one.target.component_name, one.target.business_ref_no)
                for one in self.asked
                if isinstance(one.target, Reference)
            }
        )
        for row in self.database.instances(ids, references, _COLUMNS):
            known = _Known(*row)
            self.by_id[known.id] = known
            self.by_reference.setdefault((known.component_name, known.business_ref_no), []).append(known)

    def _load(self) -> None:
        loaded = loading.load(
            self.database,
            [
                (known.id, loading.definition_of(known.template_id), known.last_sequence)
                for known in self.by_id.values()
            ],
        )
        for known in self.by_id.values():
            known.work = Recorded(
                id=known.id,
                template_id=known.template_id,
                version=known.version,
                definition=loading.definition_of(known.template_id),
                before=loaded[known.id],
            )
        self._load_handled()
        wanted = {one.lease_id for one in self.asked if one.lease_id is not None}
        if wanted:
            ids = [key for key in map(read_uuid, wanted) if key is not None]
            self.leases = {str(lease.id): lease for lease in Lease.objects.filter(pk__in=ids)}

    def _load_handled(self) -> None:
        keys = {
            (known.id, one.event_id)
            for one in self.asked
            if one.event_id is not None
            for known in self._candidates(one)
        }
        if keys:
            for instance, event_id, digest in self.database.rows(_HANDLED, sorted(keys), ("uuid", "text")):
                self.handled[read_uuid(instance) or instance, event_id] = digest

    def _candidates(self, one: Asked) -> list[_Known]:
        if isinstance(one.target, Reference):
            found = self.by_reference.get((one.target.component_name, one.target.business_ref_no), [])
            name = one.target.workflow_name
            return found if name is None else [known for known in found if known.workflow_name == name]
        known = self.by_id.get(one.target)
        return [known] if known else []

    def _named(self) -> set[uuid.UUID]:
        starts = [one.command for one in self.asked if isinstance(one.command, StartWorkflow)]
        return {key for start in starts if (key := named_by(start.context)) is not None}

    # --- answering ---

    def answer(self, one: Asked) -> Answer:
        """This will judge one command and take down what follows from it."""
        failpoints.hit("before_decide")
        if self.pause is not None and pausing.refuses(one.command):
            return _refused(pausing.CODE, self.pause.sentence)
        if isinstance(one.command, StartWorkflow):
            return self._start(one, one.command)
        found = self._candidates(one)
        if not found:
            return self._nobody(one)
        if len(found) > 1:
            return _refused("ambiguous_workflow", "Several workflows of this component have that reference: name one.")
        work = found[0].work
        assert work is not None
        if isinstance(one.command, Turn):
            return self._take_turn(one, one.command, work)
        if one.if_match is not None and work.now is not None and one.if_match != work.now.last_sequence:
            return self._unmatched(one, work, work.now)
        return self._decide(one, work)

    def _take_turn(self, one: Asked, turn: Turn, work: Recorded) -> Answer:
        """In-process work runs here, under the lock: what it writes and what is recorded of it commit together."""
        position = work.definition.task_positions.get((turn.stage_name, turn.task_name))
        now = work.now
        assert now is not None
        if position is None:
            return _refused("unknown_task", f"The workflow has no task {turn.stage_name}/{turn.task_name}.", work)
        task = now.tasks[position]
        live = attempt_of(task, compensation=turn.compensation).state in LIVE
        moving = now.state == InstanceState.ROLLING_BACK if turn.compensation else now.state in _MOVING
        if not live or not moving:
            return _duplicate(work, "It is not its turn any more.")
        given = TurnWork(
            work.definition, work.definition.tasks[position], now, task, turn.compensation, transaction.atomic
        )
        return self._decide(replace(one, command=turn.work(given)), work)

    def _unmatched(self, one: Asked, work: Recorded, now: Snapshot) -> Answer:
        """What the caller may not do at all goes before what they had not seen (contract 5.1, `If-Match`)."""
        judged = decide(work.definition, now, _command(one), at=self.at, world=self.world)
        if isinstance(judged, Rejected) and STATUS[judged.code] in (403, 404):
            return _refused(judged.code, judged.reason, work)
        return _refused("precondition_failed", f"The instance is at event {now.last_sequence}.", work)

    def _nobody(self, one: Asked) -> Answer:
        if isinstance(one.target, Reference) and not self.offers.newest(one.target.component_name):
            return _refused("unknown_template", f"No workflow of component {one.target.component_name!r} is published.")
        return _refused("unknown_instance", "There is no such instance.")

    def _decide(self, one: Asked, work: Recorded) -> Answer:
        digest = digest_of(one) if one.event_id is not None else ""
        if one.event_id is not None:
            known = self.handled.get((work.id, one.event_id))
            if known == digest:
                return _duplicate(work, "A message with this event_id has been applied.")
            if known is not None:
                reason = f"event_id {one.event_id!r} was used for another message."
                return self._refuse(one, work, Rejected("event_id_reused", reason))
        if (rejected := self._lease_lost(one, work)) is not None:
            return self._refuse(one, work, rejected)
        assert work.now is not None
        match decide(work.definition, work.now, _command(one), at=self.at, world=self.world):
            case Accepted(events, snapshot):
                failpoints.hit("decided")
                if (rejected := self._hold(one, work, snapshot)) is not None:
                    return self._refuse(one, work, rejected)
                self.recorder.record(work, events, snapshot, actor=one.actor, cause=one.cause or one.event_id)
                if one.trace is not None:
                    work.heard.append(listeners.Heard(type(one.command).__name__, one.trace))
                heard = isinstance(one.command, BeginTask) and self.recorder.heard_of(work, one.command)
                # Of progress alone nothing stays but the newest: who repeats it does no harm.
                if one.event_id is not None and (events or not heard):
                    self._remember(one, work, digest)
                return _applied(work, tuple(event.name for event in events))
            case Duplicate(reason):
                return _duplicate(work, reason)
            case Rejected() as rejected:
                return self._refuse(one, work, rejected)

    def _refuse(self, one: Asked, work: Recorded, rejected: Rejected) -> Answer:
        if is_recorded(rejected.code):
            command = one.command
            about = command if isinstance(command, OnTask) else None
            assert work.now is not None
            recorded = refuse(
                work.definition,
                work.now,
                rejected,
                said=one.said,
                stage_name=about.stage_name if about else None,
                task_name=about.task_name if about else None,
                attempt=about.attempt if about else None,
                at=self.at,
            )
            self.recorder.record(
                work, recorded.events, recorded.snapshot, actor=one.actor, cause=one.cause or one.event_id
            )
        return _refused(rejected.code, rejected.reason, work, tuple(rejected.errors), rejected.details)

    def _hold(self, one: Asked, work: Recorded, after: Snapshot) -> Rejected | None:
        """What it held is let go when it ends; a replay that opens it again has to get hold of it first."""
        definition, was, now = work.definition, work.now, after.state
        if definition.target is None or was is None or (was.state in ENDED) is (now in ENDED):
            return None
        if now in ENDED:
            self.holding.end(work.id, how=str(now), actor=one.actor)
            return None
        holder = Holder(str(work.id), definition.component_name, definition.workflow_name, after.business_ref_no)
        return self.holding.reopen(definition, holder=holder, actor=one.actor)

    def _start(self, one: Asked, command: StartWorkflow) -> Answer:
        target = one.target
        if not isinstance(target, Reference):
            raise TypeError("a start is addressed by reference")
        offer = self.offers.pick(target, version=one.version)
        existing = self._candidates(one)
        if isinstance(offer, Rejected) and offer.code == "ambiguous_workflow":
            return _refused(offer.code, offer.reason)
        if existing:
            assert existing[0].work is not None
            # Its context and version are not looked at, and it leaves no trace: the first start counts.
            return _duplicate(existing[0].work, "The instance has been started before.")
        if isinstance(offer, Rejected):
            return _refused(offer.code, offer.reason)
        definition = loading.definition_of(offer.id)
        if errors := _context_errors(definition, command):
            return _refused("invalid_body", "The context does not fit the workflow's context_schema.", errors=errors)
        key = new_instance_id()
        if (rejected := self.holding.start(definition, command, instance_id=key, actor=one.actor)) is not None:
            return self._not_begun(target, definition, rejected)
        work = Recorded(id=key, template_id=offer.id, version=offer.version, definition=definition, before=None)
        accepted = start(
            definition,
            command if one.trace is None else replace(command, trace=str(one.trace)),
            instance_id=str(key),
            started_by=one.actor,
            version=offer.version,
            at=self.at,
            world=self.world,
        )
        known = _Known(key, offer.id, offer.workflow_name, offer.version, 0, work=work)
        self.by_id[key] = known
        self.by_reference.setdefault((target.component_name, target.business_ref_no), []).append(known)
        self.recorder.record(work, accepted.events, accepted.snapshot, actor=one.actor, cause=one.cause or one.event_id)
        if one.trace is not None:
            work.heard.append(listeners.Heard(type(command).__name__, one.trace))
        if definition.target is not None and accepted.snapshot.state in ENDED:
            self.holding.end(key, how=str(accepted.snapshot.state), actor=one.actor)
        if one.event_id is not None:
            self._remember(one, work, digest_of(one))
        return _applied(work, tuple(event.name for event in accepted.events), created=True)

    def _not_begun(self, target: Reference, definition: WorkflowDefinition, rejected: Rejected) -> Answer:
        # The same start may have come in while this one waited for the subscription: then it is in its own way.
        twin = WorkflowInstance.objects.filter(
            component_name=definition.component_name,
            business_ref_no=target.business_ref_no,
            workflow_name=definition.workflow_name,
        ).first()
        if twin is not None:
            now = InstanceNow(twin.pk, twin.state, twin.business_status, twin.last_sequence)
            return Answer(Outcome.DUPLICATE, instance=now, reason="The instance has been started before.")
        return _refused(rejected.code, rejected.reason, errors=rejected.errors, details=rejected.details)

    def _lease_lost(self, one: Asked, work: Recorded) -> Rejected | None:
        if one.lease_id is None or not isinstance(one.command, CompleteTask | FailTask):
            return None
        lease = self.leases.get(one.lease_id)
        command = one.command
        assert work.now is not None
        position = work.definition.task_positions.get((command.stage_name, command.task_name))
        if (
            lease is not None
            and (lease.instance_id, lease.position, lease.compensation) == (work.id, position, command.compensation)
            and lease.lease_until > self.at
        ):
            # A lease is of one attempt: the next one is not answered under it.
            live = attempt_of(work.now.tasks[lease.position], compensation=lease.compensation).attempt
            if lease.attempt == (command.attempt or live):
                return None
        # A result that was accepted already stays a duplicate, whoever repeats it under whatever lease.
        if isinstance(decide(work.definition, work.now, command, at=self.at, world=self.world), Duplicate):
            return None
        return Rejected("lease_lost", f"The lease {one.lease_id} has ended: the work may be somebody else's by now.")

    def _remember(self, one: Asked, work: Recorded, digest: str) -> None:
        assert one.event_id is not None
        self.handled[work.id, one.event_id] = digest
        self.recorder.handled(work, event_id=one.event_id, digest=digest)

    # --- after the decisions ---

    def committed(self) -> None:
        """This will keep the new snapshots and tell the listeners."""
        touched, heard = self.recorder.touched.values(), self.recorder.heard.values()
        if not touched and not heard:
            return
        loading.snapshots.put((work.id, work.now) for work in touched if work.now is not None)
        failpoints.hit("before_push")
        if self.recorder.fresh:
            fresh.messages.put(self.recorder.fresh)
        if listeners.anybody():
            details = listeners.wants_details()
            listeners.tell(
                listeners.Committed(
                    at=self.at,
                    changes=(
                        *(_change(work, self.at if details else None) for work in touched),
                        *(_heard(work, keys) for work, keys in heard),
                    ),
                    queues=frozenset(queue for work in touched for queue in work.queues),
                    unsent=self.recorder.unsent or any(_makes_room(work) for work in touched),
                    steps=any(_has_step_work(work) for work in touched),
                    deadline=self.recorder.earliest_deadline,
                )
            )
        failpoints.hit("after_push")


_MOVING = (InstanceState.RUNNING, InstanceState.FAILED)
_NO_DETAILS: Mapping[str, Any] = {}


def _command(one: Asked) -> Command:
    assert not isinstance(one.command, Turn), "turns have been taken before"
    return one.command


_BESIDE = frozenset({"event_id", tracecontext.PARENT, tracecontext.STATE})


def digest_of(one: Asked) -> str:
    """This will give what tells two messages with the same id apart: a digest of all that was said but the id.

    Nor does the trace count: whoever sends a message again may do so in another one.
    """
    said = {key: value for key, value in one.said.items() if key not in _BESIDE}
    return hashlib.sha256(canonical(said).encode()).hexdigest()


def _context_errors(definition: WorkflowDefinition, command: StartWorkflow) -> tuple[dict[str, str], ...]:
    if definition.context_schema is None:
        return ()
    return tuple(
        {"pointer": f"/context{problem.pointer}", "code": problem.code, "message": problem.message}
        for problem in validate(definition.context_schema, command.context)
    )


def _now(work: Recorded) -> InstanceNow:
    now: Snapshot | None = work.now
    assert now is not None
    return InstanceNow(
        id=work.id, state=str(now.state), business_status=now.business_status, last_sequence=now.last_sequence
    )


def _applied(work: Recorded, events: tuple[str, ...], *, created: bool = False) -> Answer:
    return Answer(Outcome.APPLIED, instance=_now(work), created=created, events=events)


def _duplicate(work: Recorded, reason: str) -> Answer:
    return Answer(Outcome.DUPLICATE, instance=_now(work), reason=reason)


def _refused(
    code: str,
    reason: str,
    work: Recorded | None = None,
    errors: tuple[object, ...] = (),
    details: Mapping[str, Any] = _NO_DETAILS,
) -> Answer:
    instance = _now(work) if work is not None else None
    return Answer(Outcome.REFUSED, instance=instance, code=code, reason=reason, errors=errors, details=details)  # type: ignore[arg-type]


def _change(work: Recorded, detailed_at: dt.datetime | None) -> listeners.Change:
    now = work.now
    assert now is not None
    return listeners.Change(
        instance_id=work.id,
        last_sequence=now.last_sequence,
        state=str(now.state),
        created=work.created,
        component_name=work.definition.component_name,
        workflow_name=work.definition.workflow_name,
        tasks=tuple(work.definition.tasks[position].key for position in work.rows.tasks),
        events=tuple(event.name for event in work.events),
        human_tasks=tuple(_human_change(work, row) for row in work.rows.humans.values()),
        details=_details(work, now, detailed_at) if detailed_at is not None else None,
    )


def _heard(work: Recorded, keys: Sequence[str]) -> listeners.Change:
    return replace(_change(work, None), created=False, tasks=tuple(keys), events=(), human_tasks=(), heard=True)


def _details(work: Recorded, now: Snapshot, at: dt.datetime) -> listeners.Details:
    over = now.state in ENDED and (work.before is None or work.before.state not in ENDED)
    ended = tuple(attempts.ended(work.before, work.events, at=at))
    return listeners.Details(work.definition, now, ended, tuple(work.heard), over)


def _human_change(work: Recorded, row: HumanTask) -> listeners.HumanChange:
    return listeners.HumanChange(
        id=row.id,
        assigned_kind=row.assigned_kind,
        assigned_to=row.assigned_to,
        claimed_by=row.claimed_by,
        is_open=row.state in OPEN_HUMAN_TASK,
        before=work.rows.assigned_before.get(row.id),
    )


def _makes_room(work: Recorded) -> bool:
    """Whether work of a queue with limits may be over, so that the next in its line may go out."""
    if not (limited := pausing.known.limited):
        return False
    for position in work.rows.tasks:
        task = work.definition.tasks[position]
        if task.task_queue in limited or (task.compensate and task.compensate.task_queue in limited):
            return True
    return False


def _has_step_work(work: Recorded) -> bool:
    tasks = work.definition.tasks
    return any(
        tasks[position].kind is TaskKind.STEP or (tasks[position].compensate and tasks[position].compensate.step)  # type: ignore[union-attr]
        for position in work.rows.tasks
    )
