"""The planted bugs (reliability plan 3.6): each changes the product in memory, in a process that is thrown away.

`where` says who is to find it: the crash sweep with a story and a way to break it, or a duel on PostgreSQL.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bug:
    """One bug: what it is, how it is planted, and where it must be found."""

    name: str
    about: str
    plant: Callable[[], None]
    sweep: tuple[str, str] | None = None
    """Story and mode of the crash sweep."""
    duel: str | None = None
    """Name of the duel."""


def _ack_before_commit() -> None:
    from tests.faults import filebus

    def consume(
        self: Any, handle: Callable[..., None], *, queues: Sequence[str], max_messages: int, timeout: float
    ) -> int:
        taken: list[Any] = []
        true(self, taken.extend, queues=queues, max_messages=max_messages, timeout=timeout)
        if taken:
            handle(taken)
        return len(taken)

    true = filebus.FileBus.consume
    filebus.FileBus.consume = consume  # type: ignore[method-assign]


def _publish_before_commit() -> None:
    from tests.faults import filebus
    from workflows.messaging.port import Outgoing
    from workflows.runtime import recording

    buses: list[filebus.FileBus] = []
    opened = filebus.FileBus.__init__

    def init(self: filebus.FileBus, *given: Any, **more: Any) -> None:
        opened(self, *given, **more)
        buses.append(self)

    def write(self: Any) -> None:
        # The columns of an outbox row, as the recorder has them: id, instance, name, queue, …, payload.
        for row in self._outbox:
            buses[-1].put([Outgoing(message_id=str(row[0]), queue=row[3], body=row[8].encode())])
        true(self)

    true = recording.Recorder.write
    filebus.FileBus.__init__ = init  # type: ignore[method-assign, assignment]
    recording.Recorder.write = write  # type: ignore[method-assign]


def _no_inbox() -> None:
    from workflows.runtime import handling, recording

    handling._Batch._load_handled = lambda self: None  # type: ignore[method-assign]
    recording.Recorder.handled = lambda self, work, **more: None  # type: ignore[method-assign, assignment]


def _relay_by_last_id() -> None:
    from workflows.runtime import outbox
    from workflows.runtime.fresh import FreshMessages

    FreshMessages.open = lambda self, taker, *, offer: None  # type: ignore[method-assign]
    seen = [0]

    def send_some(
        claimed: Sequence[outbox.Claimed], at: dt.datetime, send: Callable[[Sequence[outbox.Claimed]], Any]
    ) -> int:
        fresh = [message for message in claimed if message.pk > seen[0]]
        seen[0] = max([seen[0], *(message.pk for message in fresh)])
        return true(fresh, at, send)

    true = outbox._send
    outbox._send = send_some


def _mark_sent_before_confirm() -> None:
    from workflows.runtime import outbox
    from workflows.runtime.fresh import FreshMessages

    FreshMessages.open = lambda self, taker, *, offer: None  # type: ignore[method-assign]

    def send_some(
        claimed: Sequence[outbox.Claimed], at: dt.datetime, send: Callable[[Sequence[outbox.Claimed]], Any]
    ) -> int:
        outbox.settle(claimed, [None] * len(claimed), at=at)
        return true(claimed, at, send)

    true = outbox._send
    outbox._send = send_some


def _settle_before_posting() -> None:
    from workflows.messaging.relay import Relay
    from workflows.runtime import fresh, outbox

    def post(self: Any) -> None:
        waiting = [(message, self._now()) for _, message in fresh.messages._messages]
        outbox.settle_fresh(waiting)
        true(self)

    true = Relay._post
    Relay._post = post  # type: ignore[method-assign]


def _endless_head_start() -> None:
    from workflows.runtime import fresh

    fresh.HEAD_START = dt.timedelta(days=1)


def _reuse_channel() -> None:
    from workflows.messaging.adapters import amqp_sending

    # As the client library does it: any confirm is that of the message at hand; and after an error the channel stays.
    def acknowledged(self: Any, tag: int, multiple: bool) -> None:
        true(self, next(iter(self._open), tag), multiple)

    true = amqp_sending.Sending._acknowledged
    amqp_sending.Sending._acknowledged = acknowledged  # type: ignore[method-assign]
    amqp_sending.Sending.drop = lambda self: None  # type: ignore[method-assign]


def _push_before_commit() -> None:
    from workflows.runtime import recording
    from workflows.runtime.handling import _Batch

    batches: list[_Batch] = []
    opened = _Batch.__post_init__

    def init(self: _Batch) -> None:
        opened(self)
        batches.append(self)

    def write(self: Any) -> None:
        batches[-1].committed()
        true(self)

    true = recording.Recorder.write
    _Batch.__post_init__ = init  # type: ignore[method-assign]
    recording.Recorder.write = write  # type: ignore[method-assign]


def _no_lock() -> None:
    from workflows.models import postgresql

    postgresql._LOCKED = postgresql._LOCKED.replace(" FOR NO KEY UPDATE", "")


def _no_guards() -> None:
    """What stands behind the lock: writes that name the state which they expect to find."""
    from workflows.models import postgresql

    def update(
        self: Any, table: Any, changed: Sequence[str], keys: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        kept = [at for at, name in enumerate([*changed, *keys]) if not name.startswith("old_")]
        bare = [name for name in keys if not name.startswith("old_")]
        true(self, table, changed, bare, [tuple(row[at] for at in kept) for row in rows])

    true = postgresql.Postgres.update
    postgresql.Postgres.update = update  # type: ignore[method-assign]


def _no_lock_on_approve() -> None:
    _no_lock()


def _no_version_check() -> None:
    from workflows.runtime.handling import _Batch

    true = _Batch.answer
    _Batch.answer = lambda self, one: true(  # type: ignore[method-assign]
        self, dataclasses.replace(one, if_match=None)
    )


def _deadline_ignores_lock() -> None:
    from workflows.runtime import deadlines, handling

    def handle(*asked: Any, at: dt.datetime | None = None) -> Any:
        from workflows.models import postgresql

        locked = postgresql._LOCKED
        _no_lock()
        try:
            return handling.handle(*asked, at=at)
        finally:
            postgresql._LOCKED = locked

    deadlines.handle = handle  # type: ignore[attr-defined]


def _join_counts() -> None:
    """Each of the last two counts what is left when it looks, and nobody makes them look one after the other."""
    _no_lock()
    _no_guards()


def _no_attempt_check() -> None:
    from workflows.engine.rules import tasks

    tasks._other_attempt = lambda draft, position, attempt: None


def _retry_reuses_attempt() -> None:
    from workflows.engine.draft import Draft

    def on_task(
        self: Draft, name: str, position: int, attempt: int | None, data: Mapping[str, Any] | None = None
    ) -> None:
        if name == "TaskScheduled" and attempt is not None and attempt > 1:
            attempt -= 1
        true(self, name, position, attempt, data or {})

    true = Draft.on_task
    Draft.on_task = on_task  # type: ignore[method-assign, assignment]


def _rollback_forward() -> None:
    import builtins

    from workflows.engine.rules import rollback

    rollback.max = builtins.min  # type: ignore[attr-defined]


def _replay_writes_outbox() -> None:
    from workflows.models import OutboxMessage
    from workflows.runtime import replay

    def state_at(instance: Any, sequence: int | None = None) -> Any:
        for row in OutboxMessage.objects.filter(instance=instance)[:1]:
            row.pk, row.message_id = None, uuid.uuid4()
            row.save(force_insert=True)
        return true(instance, sequence)

    true = replay.state_at
    replay.state_at = state_at


def _live_template() -> None:
    from workflows.models import WorkflowTemplate
    from workflows.runtime import loading

    def definition_of(template_id: uuid.UUID) -> Any:
        mine = WorkflowTemplate.objects.get(pk=template_id)
        newest = WorkflowTemplate.objects.filter(
            workflow_name=mine.workflow_name, component_name=mine.component_name
        ).order_by("-version")
        return true(newest[0].pk)

    true = loading.definition_of
    loading.definition_of = definition_of


_ALL = (
    Bug("ack-before-commit", "the broker forgets a message before it is carried out", _ack_before_commit,
        sweep=("linear", "kill")),
    Bug("publish-before-commit", "messages are sent before what they follow from is committed", _publish_before_commit,
        sweep=("linear", "kill")),
    Bug("no-inbox-unique", "message ids are neither kept nor looked at", _no_inbox, sweep=("halt", "kill")),
    Bug("relay-by-last-id", "the relay sends what has a greater id than the last one it saw", _relay_by_last_id,
        sweep=("linear", "raise"), duel="gap"),
    Bug("mark-sent-before-confirm", "messages are marked sent before they are sent", _mark_sent_before_confirm,
        sweep=("linear", "kill")),
    Bug("settle-before-posting", "what is to be sent from memory is marked sent before it is", _settle_before_posting,
        sweep=("linear", "kill")),
    Bug("endless-head-start", "what was to be sent from memory is due for nobody else", _endless_head_start,
        sweep=("linear", "kill")),
    Bug("reuse-channel-after-timeout", "a late confirm is taken for that of another message", _reuse_channel,
        duel="late-confirm"),
    Bug("push-before-commit", "listeners are told before the commit", _push_before_commit, sweep=("linear", "raise")),
    Bug("no-lock-on-approve", "the instance is read without a lock", _no_lock_on_approve, duel="approve-approve"),
    Bug("version-check-removed", "If-Match is not looked at", _no_version_check, duel="stale-version"),
    Bug("deadline-ignores-lock", "the clock decides without a lock", _deadline_ignores_lock, duel="approve-deadline"),
    Bug("join-counts-instead-of-locks", "the last two tasks of a join count without a lock, unguarded", _join_counts,
        duel="join"),
    Bug("attempt-check-removed", "a result counts for whatever attempt is live", _no_attempt_check,
        sweep=("late", "kill")),
    Bug("retry-reuses-attempt-id", "the second attempt has the number of the first", _retry_reuses_attempt,
        sweep=("retry", "kill")),
    Bug("rollback-forward-order", "the oldest is undone first", _rollback_forward, sweep=("rollback", "kill")),
    Bug("replay-writes-outbox", "to look at the past sends messages", _replay_writes_outbox, sweep=("linear", "kill")),
    Bug("live-template", "an instance follows the newest template", _live_template, sweep=("edited", "kill")),
)  # fmt: skip
BUGS: Mapping[str, Bug] = {bug.name: bug for bug in _ALL}
