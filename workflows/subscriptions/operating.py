"""What operators do to subscriptions: unlock them, and say something about them. Both are written down."""

from __future__ import annotations

import datetime as dt
import uuid

from workflows.definitions.schema import Target
from workflows.engine.lifecycle import ENDED, InstanceState
from workflows.engine.rules.subscriptions import held
from workflows.models import Subscription, SubscriptionEvent, SubscriptionEventKind, WorkflowInstance
from workflows.models.locking import writing
from workflows.runtime import holding, moments
from workflows.runtime.asking import Answer, Outcome
from workflows.runtime.loading import definition_of


def may_unlock(holder: WorkflowInstance) -> bool:
    """This will tell whether the holder has nothing more to do with it: it has ended, or found a difference.

    A validation changes nothing, so that one which failed can be left as it is.
    """
    failed_validation = (
        holder.state == InstanceState.FAILED and definition_of(holder.template_id).target is Target.VALIDATE
    )
    return holder.state in ENDED or failed_validation


def unlock(key: uuid.UUID, *, by: str, reason: str, at: dt.datetime | None = None) -> Answer:
    """This will put a subscription back in sync whose holder is done with it; one that is in sync stays as it is."""
    with writing():
        # The holder first, as everywhere: then nobody can make it go on meanwhile.
        holder_id = Subscription.objects.filter(pk=key).values_list("holder", flat=True).first()
        locked = WorkflowInstance.objects.select_for_update(no_key=True)
        holder = locked.filter(pk=holder_id).first() if holder_id is not None else None
        rows = list(Subscription.objects.filter(pk=key).locked())
        if not rows:
            return Answer(Outcome.REFUSED, code="unknown_subscription", reason=f"There is no subscription {key}.")
        if rows[0].holder_id is None:
            return Answer(Outcome.DUPLICATE, reason="The subscription is in sync.")
        if holder is None or rows[0].holder_id != holder.pk or not may_unlock(holder):
            return _still_held(key)
        holding.release(
            rows,
            kind=SubscriptionEventKind.UNLOCKED,
            at=at or moments.now(),
            actor=by,
            instance_id=holder.pk,
            reason=reason,
            state=str(holder.state),
        )
    return Answer(Outcome.APPLIED)


def _still_held(key: uuid.UUID) -> Answer:
    standing = holding.standing_of(key)
    said = held(standing) if standing is not None else None
    if said is None:
        return Answer(Outcome.REFUSED, code="wrong_state", reason="Somebody else is at it just now. Look again.")
    reason = f"{said.reason} It has not ended: finish it, roll it back or cancel it."
    return Answer(Outcome.REFUSED, code=said.code, reason=reason, details=said.details)


def note(key: uuid.UUID, *, text: str, by: str, at: dt.datetime | None = None) -> Answer:
    """This will keep a note with the subscription, whoever holds it; an empty one takes it away."""
    moment = at or moments.now()
    with writing():
        row = Subscription.objects.filter(pk=key).locked().first()
        if row is None:
            return Answer(Outcome.REFUSED, code="unknown_subscription", reason=f"There is no subscription {key}.")
        if row.note == text:
            return Answer(Outcome.DUPLICATE, reason="It says so already.")
        Subscription.objects.filter(pk=key).update(note=text, updated_at=moment)
        SubscriptionEvent.objects.create(
            subscription=row,
            kind=SubscriptionEventKind.NOTED,
            occurred_at=moment,
            actor=by,
            data={"before": row.note, "after": text},
        )
    return Answer(Outcome.APPLIED)
