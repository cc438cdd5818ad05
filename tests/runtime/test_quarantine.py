"""What could not be read or matched waits for an operator, and for one operator at a time."""

from __future__ import annotations

import datetime as dt
import json
import threading

import pytest
from django.db import connection

from workflows.models import QuarantinedMessage, WorkflowInstance
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


def test_many_are_handed_in_in_the_order_they_came() -> None:
    publish()
    second = held({"event_name": "Signal", "component_name": "LATE", "business_ref_no": "R-1", "name": "go"})
    QuarantinedMessage.objects.filter(pk=second.pk).update(received_at=AT + dt.timedelta(seconds=1))
    first = held()

    results = quarantine.resubmit_many([second.pk, first.pk], by="olivia", reason="published now", at=LATER)

    assert results[first.pk].over
    assert results[first.pk].answer.created
    assert results[second.pk].over
    first.refresh_from_db()
    assert (first.state, first.resolved_at, first.resolution) == ("RESUBMITTED", LATER, "applied (published now)")


def test_one_that_cannot_be_read_stops_no_other() -> None:
    publish()
    broken, good = held(b"{nope"), held()

    results = quarantine.resubmit_many([broken.pk, good.pk], by="olivia", at=LATER)

    assert {key: result.over for key, result in results.items()} == {broken.pk: False, good.pk: True}
    assert results[broken.pk].answer.code == "invalid_json"


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_see_to_each_message_once() -> None:
    publish()
    messages = [held({**START, "business_ref_no": f"R-{number}"}) for number in range(30)]
    keys = [message.pk for message in messages]
    results: dict[str, dict[int, quarantine.Result]] = {}
    together = threading.Barrier(4)

    def see_to(name: str, keys: list[int], discard: bool) -> None:
        together.wait(30)
        try:
            if discard:
                results[name] = dict(quarantine.discard_many(keys, by=name, reason="mine", at=LATER))
            else:
                results[name] = dict(quarantine.resubmit_many(keys, by=name, at=LATER))
        finally:
            connection.close()

    threads = [
        threading.Thread(target=see_to, args=(name, order, discard))
        for name, order, discard in (
            ("olivia", keys, False), ("olivia twice", keys, False), ("admin", keys[::-1], False), ("mona", keys, True),
        )
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert set(results) == {"olivia", "olivia twice", "admin", "mona"}
    for message in messages:
        theirs = [name for name in results if results[name][message.pk].over]
        message.refresh_from_db()
        assert theirs == [message.resolved_by]
        assert {one[message.pk].answer.code for name, one in results.items() if name not in theirs} == {"wrong_state"}
    started = QuarantinedMessage.objects.filter(state="RESUBMITTED").count()
    assert WorkflowInstance.objects.count() == started


def test_whoever_took_too_long_does_not_undo_what_another_did(monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    message = held()
    read = quarantine._read

    def slowly(taken: QuarantinedMessage, *, by: str) -> object:
        monkeypatch.setattr(quarantine, "_read", read)
        quarantine.discard(message, by="mona", reason="quicker", at=LATER + dt.timedelta(seconds=61))
        return read(taken, by=by)

    monkeypatch.setattr(quarantine, "_read", slowly)

    result = quarantine.resubmit_many([message.pk], by="olivia", at=LATER)[message.pk]

    assert (result.over, result.answer.reason) == (False, "Somebody else has taken the message over meanwhile.")
    message.refresh_from_db()
    assert (message.state, message.resolved_by, message.resolution) == ("DISCARDED", "mona", "quicker")


def test_all_that_match_are_found_oldest_first() -> None:
    messages = [held() for _ in range(3)]
    quarantine.discard(messages[1], by="olivia", reason="x", at=LATER)
    quarantine.hold(b"{", source="elsewhere", code="invalid_json", reason="?", at=LATER)

    assert [one.pk for one in quarantine.matching(code="unknown_template")] == [messages[0].pk, messages[2].pk]
    assert quarantine.matching(source="elsewhere").count() == 1
    assert quarantine.matching(until=AT).count() == 2
