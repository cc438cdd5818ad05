"""What could not be read or matched waits for an operator, and for one operator at a time."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from workflows.models import QuarantinedMessage
from workflows.runtime import quarantine
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
LATER = AT + dt.timedelta(minutes=5)
START = {"event_name": "StartWorkflow", "component_name": "LATE", "business_ref_no": "R-1"}


def held(message: object = START) -> QuarantinedMessage:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return quarantine.hold(body, source="tests", code="unknown_template", reason="No such workflow.", at=AT)


def publish() -> None:
    template = {"workflow_name": "W", "component_name": "LATE", "stages": [{"stage_name": "S", "stage_order": 1}]}
    publish_template(template, by="tests", at=AT)


def test_a_message_is_carried_out_once_its_workflow_is_there() -> None:
    message = held()
    publish()

    answer = quarantine.resubmit(message, by="olivia", at=LATER)

    assert answer.applied
    message.refresh_from_db()
    assert (message.state, message.resolved_by, message.resolution) == ("RESUBMITTED", "olivia", "applied")


def test_what_can_still_not_be_matched_stays_and_can_be_handed_in_again() -> None:
    message = held()

    answer = quarantine.resubmit(message, by="olivia", at=LATER)

    assert answer.code == "unknown_template"
    message.refresh_from_db()
    assert (message.state, message.resolved_by, message.resolved_at) == ("OPEN", "", None)
    publish()
    assert quarantine.resubmit(message, by="olivia", at=LATER).applied


def test_what_is_no_json_stays_with_the_reason() -> None:
    message = held(b"{nope")

    answer = quarantine.resubmit(message, by="olivia", at=LATER)

    assert answer.code == "invalid_json"
    assert QuarantinedMessage.objects.get(pk=message.pk).state == "OPEN"


def test_a_message_that_somebody_has_in_hand_is_nobody_elses_for_a_minute() -> None:
    message = held()
    publish()
    QuarantinedMessage.objects.filter(pk=message.pk).update(resolved_at=LATER, resolved_by="olivia")

    refused = quarantine.discard(message, by="admin", reason="not needed", at=LATER + dt.timedelta(seconds=30))
    discarded = quarantine.discard(message, by="admin", reason="not needed", at=LATER + dt.timedelta(seconds=90))

    assert (refused.code, refused.reason) == ("wrong_state", "olivia is at it just now.")
    assert discarded.applied


def test_a_discarded_message_is_over() -> None:
    message = held()
    quarantine.discard(message, by="olivia", reason="not needed", at=LATER)

    answer = quarantine.resubmit(QuarantinedMessage.objects.get(pk=message.pk), by="admin", at=LATER)

    assert answer.code == "wrong_state"
