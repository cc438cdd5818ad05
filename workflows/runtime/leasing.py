"""Work handed out for a limited time, to workers without a broker.

A lease changes no state: only its beginning is told.
"""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from django.db.models import BooleanField, Case, Exists, F, OuterRef, Q, Subquery, TextField, Value, When
from django.db.models.functions import Cast

from workflows import failpoints, tracecontext
from workflows.engine.commands import BeginTask
from workflows.engine.events import TASK_STARTED
from workflows.engine.lifecycle import InstanceState, MessageState, TaskState
from workflows.engine.outgoing import COMPENSATE_TASK, START_TASK
from workflows.models import Lease, LoggedEvent, OutboxMessage, QueueLimit, TaskInstance
from workflows.models.locking import writing
from workflows.runtime import moments, pausing
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.identity import message_id
from workflows.runtime.listeners import Committed


class LeaseLost(Exception):
    """The lease has ended, and the work may be somebody else's by now. Drop what you did and lease again."""


def lease(
    queue: str, *, worker_id: str, max_tasks: int, lease_seconds: float, actor: str, at: dt.datetime | None = None
) -> list[dict[str, Any]]:
    """This will hand out up to `max_tasks` live messages of the queue, oldest first, each with `lease_id` and
    `lease_until`. Raises EnginePaused.
    """
    pausing.check()
    moment = at or moments.now()
    taken = _take(queue, worker_id=worker_id, most=max_tasks, until=_after(moment, lease_seconds), at=moment)
    if not taken:
        return []
    failpoints.hit("lease_taken")
    answers = handle(
        *(
            Asked(
                command=BeginTask(
                    stage_name=message.stage_name,
                    task_name=message.task_name,
                    attempt=message.attempt,
                    compensation=held.compensation,
                    worker=worker_id,
                ),
                target=held.instance_id,
                actor=actor,
                cause=str(held.id),
            )
            for held, message in taken
        ),
        at=moment,
    )
    handed = []
    lost = []
    for (held, message), answer in zip(taken, answers, strict=True):
        if answer.applied:
            lease = {"lease_id": str(held.id), "lease_until": held.lease_until.isoformat()}
            handed.append({**_trace(message), **message.payload, **lease})
        else:  # it was answered or withdrawn between the look and the take
            lost.append(held.id)
    failpoints.hit("lease_given")
    if lost:
        with writing():
            Lease.objects.filter(pk__in=lost).delete()
    return handed


def extend(queue: str, lease_id: str, *, lease_seconds: float, at: dt.datetime | None = None) -> Mapping[str, Any]:
    """This will give a worker more time, from now. Raises LeaseLost."""
    moment = at or moments.now()
    until = _after(moment, lease_seconds)
    try:
        key = uuid.UUID(lease_id)
    except ValueError:
        raise LeaseLost from None
    with writing():
        # A lease is of one attempt; it ends with it.
        live = _on_offer().filter(
            instance=OuterRef("instance"),
            position=OuterRef("position"),
            queue=OuterRef("queue"),
            undoing=OuterRef("compensation"),
            live_attempt=OuterRef("attempt"),
        )
        held = Lease.objects.filter(Exists(live), pk=key, queue=queue, lease_until__gt=moment)
        if not held.update(lease_until=until):
            raise LeaseLost
    return {"lease_id": lease_id, "lease_until": until.isoformat()}


def leave(leases: Collection[uuid.UUID]) -> None:
    """This will end leases whose work stays with whoever has it: it is offered to nobody else."""
    with writing():
        Lease.objects.filter(pk__in=leases).delete()


class Bell:
    """Wakes those who wait for work on a queue. Wiring subscribes `ring` to commits."""

    def __init__(self) -> None:
        self.on_wait: Callable[[], None] = lambda: None
        """Called whenever somebody begins to wait: now it matters what other processes commit."""
        self._condition = threading.Condition()
        self._rung: dict[str, int] = {}
        self._all = 0

    def ring(self, committed: Committed) -> None:
        """This will wake whoever waits for one of the queues."""
        if not committed.queues:
            return
        with self._condition:
            for queue in committed.queues:
                self._rung[queue] = self._rung.get(queue, 0) + 1
            self._condition.notify_all()

    def ring_all(self) -> None:
        """This will wake whoever waits: something may have been put on any queue."""
        with self._condition:
            self._all += 1
            self._condition.notify_all()

    def count(self, queue: str) -> int:
        """This will tell how often the queue's bell has rung; hand it to `wait` to miss nothing in between."""
        with self._condition:
            return self._count(queue)

    def wait(self, queue: str, timeout: float, *, since: int | None = None) -> bool:
        """This will wait for the next ring after `since`; False when the time is over."""
        self.on_wait()
        with self._condition:
            seen = self._count(queue) if since is None else since
            return self._condition.wait_for(lambda: self._count(queue) > seen, timeout)

    def _count(self, queue: str) -> int:
        return self._rung.get(queue, 0) + self._all


bell = Bell()

_PORTION = 500


def _take(
    queue: str, *, worker_id: str, most: int, until: dt.datetime, at: dt.datetime
) -> list[tuple[Lease, OutboxMessage]]:
    with writing():
        offered = _offered(queue, most=most, at=at)
        taken = []
        for message, compensation, position in offered:
            attempt = {
                "instance_id": message.instance_id,
                "position": position,
                "compensation": compensation,
                "attempt": message.attempt,
            }
            # The lease that has ended goes, and with it its id: a late extension or result under it is refused.
            Lease.objects.filter(**attempt).delete()
            held = Lease.objects.create(id=uuid.uuid4(), queue=queue, worker_id=worker_id, lease_until=until, **attempt)
            taken.append((held, message))
        return taken


def _offered(queue: str, *, most: int, at: dt.datetime) -> list[tuple[OutboxMessage, bool, int]]:
    """What may be handed out: live, not held, of an instance that goes on.

    A task that somebody took without a lease stays theirs.
    """
    of_the_attempt = Lease.objects.filter(
        instance=OuterRef("instance"),
        position=OuterRef("position"),
        compensation=OuterRef("undoing"),
        attempt=OuterRef("live_attempt"),
    )
    # The row of a task that is being undone does not say whether somebody has begun: its history does.
    begun = LoggedEvent.objects.annotate(said=Cast("data", TextField())).filter(
        instance=OuterRef("instance"),
        event=TASK_STARTED,
        stage_name=OuterRef("stage_name"),
        task_name=OuterRef("task_name"),
        attempt=OuterRef("live_attempt"),
        said__startswith='{"compensation":true',
    )
    tasks = list(
        _let_out(queue)
        .filter(
            Q(task_type="SERVICE") | Q(undoing=True),
            Q(state=TaskState.SCHEDULED)
            | Q(state=TaskState.COMPENSATING) & ~Exists(begun)
            | Q(state__in=[TaskState.STARTED, TaskState.COMPENSATING]) & Exists(of_the_attempt),
            ~Exists(of_the_attempt.filter(lease_until__gt=at)),
        )
        .exclude(instance__state=InstanceState.SUSPENDED)
        .order_by("offered_at", "id")
        .select_for_update(skip_locked=True, of=("self",))[:most]
    )
    wanted = {_message_of(task): task for task in tasks}
    instances = {task.instance_id for task in tasks}
    rows = OutboxMessage.objects.filter(instance__in=instances, message_id__in=list(wanted))
    messages = {message.message_id: message for message in rows}
    # Asked once more, now that the rows are locked: somebody may have taken one between the look and the lock.
    held = set(
        Lease.objects.filter(instance__in=instances, lease_until__gt=at).values_list(
            "instance", "position", "compensation", "attempt"
        )
    )
    return [
        (messages[key], task.undoing, task.position)
        for key, task in wanted.items()
        if key in messages and (task.instance_id, task.position, task.undoing, task.live_attempt) not in held
    ]


def _on_offer() -> Any:
    """Tasks with what a lease of them stands for: whether it is their `undoing`, and the `live_attempt`."""
    newest_undoing = (
        OutboxMessage.objects.filter(
            instance=OuterRef("instance"), position=OuterRef("position"), event_name=COMPENSATE_TASK
        )
        .order_by("-attempt")
        .values("attempt")[:1]
    )
    return TaskInstance.objects.annotate(
        undoing=Case(When(state=TaskState.COMPENSATING, then=True), default=False, output_field=BooleanField()),
        live_attempt=Case(When(state=TaskState.COMPENSATING, then=Subquery(newest_undoing)), default=F("attempt")),
    )


def _let_out(queue: str) -> Any:
    """What is on offer and does not stand in the queue's line; nothing is looked up where the queue has no limits."""
    offered = _on_offer().on_offer(queue)
    if queue not in pausing.known.limited:
        return offered
    in_line = OutboxMessage.objects.filter(
        instance=OuterRef("instance"),
        position=OuterRef("position"),
        attempt=OuterRef("live_attempt"),
        event_name=OuterRef("asked_by"),
        state=MessageState.HELD,
    )
    asked_by = Case(When(state=TaskState.COMPENSATING, then=Value(COMPENSATE_TASK)), default=Value(START_TASK))
    # Without the moment, a look that finds nothing would go through the whole line.
    let_out_to = QueueLimit.objects.filter(pk=queue).values("let_out_to")
    offered = offered.filter(Q(offered_at__lte=Subquery(let_out_to)) | ~Exists(let_out_to))
    return offered.annotate(asked_by=asked_by).filter(~Exists(in_line))


def _message_of(task: Any) -> uuid.UUID:
    return message_id(
        task.instance_id,
        event_name=COMPENSATE_TASK if task.undoing else START_TASK,
        position=task.position,
        attempt=task.live_attempt,
        compensation=task.undoing,
    )


def live_messages(queue: str) -> Iterator[tuple[set[uuid.UUID], list[uuid.UUID]]]:
    """This will give the ids of all live messages of a queue, in portions: those of the instances, and their own."""
    tasks = _on_offer().on_offer(queue).filter(Q(task_type="SERVICE") | Q(undoing=True)).iterator(_PORTION)
    while portion := list(islice(tasks, _PORTION)):
        yield {task.instance_id for task in portion}, [_message_of(task) for task in portion]


def _trace(message: OutboxMessage) -> dict[str, str]:
    """The fields that stand for the headers of a broker; a template's extra field of the name stays as it is."""
    trace = tracecontext.from_text(message.trace)
    return trace.headers if trace is not None else {}


def _after(at: dt.datetime, seconds: float) -> dt.datetime:
    return at + dt.timedelta(seconds=seconds)


__all__: Sequence[str] = ("Bell", "LeaseLost", "bell", "extend", "lease", "leave", "live_messages")
