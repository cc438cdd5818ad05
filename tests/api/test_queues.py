"""How queues stand, what is not sent, and many quarantined messages at once."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.callers import SERVICE_TASK, Caller, message
from workflows.messaging.port import BusDown
from workflows.models import Lease, OutboxMessage
from workflows.runtime import broker, moments, outbox, quarantine
from workflows.runtime.broker import Depth

pytestmark = pytest.mark.both_databases


@pytest.fixture
def queue(start: Callable[..., Any]) -> str:
    """A queue with three attempts; its name holds a slash."""
    name = f"q/{uuid.uuid4().hex[:8]}"
    for _ in range(3):
        start({**SERVICE_TASK, "task_queue": name})
    return name


@pytest.fixture
def ask(settings: Any) -> Iterator[Callable[[broker.Ask], None]]:
    """Give the site a broker that answers as the test says."""

    def use(answer: broker.Ask) -> None:
        settings.BROKER_URL = "amqp://nobody"
        broker.ask_with(answer, own=lambda: {"workflow_manager": "inbound", "workflow_manager.dead": "dead"})

    yield use
    broker.ask_with(None)


def test_a_queue_says_what_waits_and_who_has_work(queue: str, operator: Caller, service: Caller):
    taken = service.post(f"queues/{queue}/lease/", {"worker_id": "oven-1"}).json["tasks"][0]

    said = operator.get(f"queues/{queue}/").json

    assert (said["queue"], said["depth"], said["depth_from"], said["in_hand"]) == (queue, 2, "database", 1)
    assert (said["consumers"], said["last_consumer"]["id"]) == (None, "oven-1")
    assert [(one["worker_id"], one["business_ref_no"]) for one in said["held"]] == [
        ("oven-1", taken["business_ref_no"])
    ]
    assert len(said["oldest"]) == 2
    assert said["oldest_at"] is not None
    assert said["broker"] == {"used": False, "error": None}


def test_a_lease_that_has_ended_is_work_that_waits(queue: str, operator: Caller, service: Caller):
    service.post(f"queues/{queue}/lease/", {"worker_id": "oven-1"})
    Lease.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))

    said = operator.get(f"queues/{queue}/").json

    assert (said["depth"], said["in_hand"], said["held"]) == (3, 0, [])


def test_what_somebody_took_without_a_lease_is_in_hand(start: Any, operator: Caller, service: Caller):
    instance = start({**SERVICE_TASK, "task_queue": "hands"})
    service.post("events/", message(instance, "TaskStarted"))

    said = operator.get("queues/hands/").json

    assert (said["depth"], said["in_hand"], said["held"][0]["worker_id"]) == (0, 1, None)
    assert said["last_consumer"]["id"] == "api_client"


def test_work_that_is_undone_waits_and_is_taken_too(start: Any, operator: Caller, service: Caller):
    for number in range(2):
        instance = start(
            {**SERVICE_TASK, "compensate": {"task_queue": "undo"}},
            {**SERVICE_TASK, "task_name": "later", "parent_task": ["charge"]},
        )
        assert service.post("events/", message(instance)).status == 200
        assert operator.post(f"instances/{instance['id']}/rollback/", {"reason": f"mistake {number}"}).status == 200
    service.post("queues/undo/lease/", {"worker_id": "undoer"})

    said = operator.get("queues/undo/").json

    assert (said["depth"], said["in_hand"]) == (1, 1)
    assert [(one["worker_id"], one["compensation"]) for one in said["held"]] == [("undoer", True)]
    assert [(one["worker_id"], one["compensation"]) for one in said["oldest"]] == [(None, True)]


def test_rates_tell_what_came_and_went(start: Any, operator: Caller, service: Caller):
    instances = [start({**SERVICE_TASK, "task_queue": "busy"}) for _ in range(10)]
    outbox.settle_all(timezone.now(), most=100)
    OutboxMessage.objects.filter(instance=instances[0]["id"]).update(sent_at=timezone.now() - dt.timedelta(minutes=30))
    for instance in instances[:5]:
        assert service.post("events/", message(instance)).status == 200

    said = operator.get("queues/busy/").json

    assert said["in_per_minute"] == {"last_5_minutes": 1.8, "last_60_minutes": 0.17}
    assert said["out_per_minute"] == {"last_5_minutes": 1.0, "last_60_minutes": 0.08}
    assert said["rates_over"] == {"in_seconds": 3600.0, "out_seconds": 3600.0}
    assert (said["depth"], said["in_hand"]) == (5, 0)


def test_rates_say_how_far_back_they_went(start: Any, operator: Caller, settings: Any):
    for _ in range(4):
        start({**SERVICE_TASK, "task_queue": "busy"})
    settings.COUNT_CAP = 2

    said = operator.get("queues/").json

    assert said["rates_over"]["in_seconds"] < 60
    assert said["rates_over"]["out_seconds"] < 60


def test_queues_that_stand_empty_are_there_and_people_are_none(publish: Any, start: Any, operator: Caller):
    publish({**SERVICE_TASK, "task_queue": "idle", "compensate": {"task_queue": "undo_idle"}})
    start(
        {"task_name": "look", "task_type": "HUMAN", "assigned_to": "finance", "task_queue": "told"},
        {"task_name": "work", "task_type": "SERVICE", "task_queue": "worked"},
    )

    found = {one["queue"]: one["depth"] for one in operator.get("queues/?limit=200").json["results"]}

    assert found["idle"] == found["undo_idle"] == 0
    assert found["worked"] == 1
    assert found["told"] == 0  # a person's task is no work of the queue where somebody is told of it


def test_pages_of_queues_neither_repeat_nor_miss(publish: Any, operator: Caller):
    names = [f"p-{number:02}" for number in range(7)]
    for name in names:
        publish({**SERVICE_TASK, "task_queue": name})

    seen, address, back = [], "queues/?limit=3&q=P-", None
    while address:
        page = operator.get(address).json
        seen += [one["queue"] for one in page["results"]]
        address, back = page["next"], page["previous"]

    assert seen == names
    assert [one["queue"] for one in operator.get(back).json["results"]] == names[3:6]
    assert operator.get("queues/?cursor=made-up").code == "invalid_parameter"


def test_it_asks_as_many_questions_for_many_queues_as_for_one(publish: Any, operator: Caller):
    asked = []
    for number in (1, 40):
        for one in range(number):
            publish({**SERVICE_TASK, "task_queue": f"many-{number}-{one}"})
        operator.get("queues/?limit=200")  # templates are read once
        with CaptureQueriesContext(connection) as seen:
            assert operator.get("queues/?limit=200").status == 200
        asked.append(len(seen))

    assert asked[0] == asked[1] <= 10


# --- The broker ---------------------------------------------------------------------------------------------------


def test_the_broker_knows_depth_and_consumers(queue: str, operator: Caller, ask: Any):
    ask(lambda names, seconds: {name: Depth(70, 2) if name == queue else None for name in names})

    said = operator.get(f"queues/{queue}/").json

    assert (said["depth"], said["depth_from"], said["consumers"], said["waiting"]) == (70, "broker", 2, 3)
    assert said["broker"] == {"used": True, "error": None}
    uses = {one["queue"]: one["use"] for one in operator.get("queues/").json["results"]}
    assert uses == {queue: "work", "workflow_manager": "inbound", "workflow_manager.dead": "dead"}


def test_a_queue_that_only_the_broker_knows_is_there(operator: Caller, ask: Any):
    ask(lambda names, seconds: {name: Depth(1, 0) if name == "theirs" else None for name in names})

    assert operator.get("queues/theirs/").json["depth"] == 1
    assert operator.get("queues/nobodys/").status == 404


def test_a_broker_that_is_down_is_said_and_our_own_count_stands(queue: str, operator: Caller, ask: Any):
    def down(names: Any, seconds: float) -> Any:
        raise BusDown("connection refused")

    ask(down)

    said = operator.get(f"queues/{queue}/").json

    assert (said["depth"], said["depth_from"]) == (3, "database")
    assert said["broker"] == {"used": True, "error": "connection refused"}
    inbound = operator.get("queues/workflow_manager/").json
    assert (inbound["depth"], inbound["consumers"], inbound["use"]) == (None, None, "inbound")


# --- What is not sent ---------------------------------------------------------------------------------------------


@pytest.fixture
def backlog(start: Any) -> None:
    """Messages that were tried in vain, and one that was not tried yet."""
    for name in ("gone", "gone", "down", "odd"):
        start({**SERVICE_TASK, "task_queue": name})
    now = timezone.now()
    claimed = outbox.claim(now, most=100)
    errors = {"gone": "There is no queue of this name.", "down": "The bus does not answer: refused", "odd": "Too big."}
    outbox.settle(claimed, [errors[one.queue] for one in claimed], at=now)
    start({**SERVICE_TASK, "task_queue": "new"})


def test_what_is_not_sent_says_why(backlog: None, operator: Caller):
    found = operator.get("outbox/").json["results"]

    assert sorted((one["queue"], one["reason"], one["tries"]) for one in found) == [
        ("down", "broker_down", 1),
        ("gone", "unroutable", 1),
        ("gone", "unroutable", 1),
        ("new", "waiting", 0),
        ("odd", "refused", 1),
    ]
    assert all(one["next_try_at"] > one["created_at"] for one in found if one["tries"])
    (because,) = operator.get("queues/gone/").json["unsent_because"]
    assert (because["reason"], because["count"], because["tries"]) == ("unroutable", 2, 1)


@pytest.mark.parametrize(
    ("query", "queues"),
    [
        ("queue=gone", ["gone", "gone"]), ("reason=refused", ["odd"]), ("reason=broker_down", ["down"]),
        ("reason=waiting", ["new"]), ("reason=unroutable&queue=down", []),
    ],
)  # fmt: skip
def test_what_is_not_sent_is_found_by_queue_and_reason(query: str, queues: list[str], backlog: None, operator: Caller):
    assert [one["queue"] for one in operator.get(f"outbox/?{query}").json["results"]] == queues


def test_pages_of_unsent_messages_follow_each_other(backlog: None, operator: Caller):
    first = operator.get("outbox/?limit=3").json
    second = operator.get(first["next"]).json

    assert len({one["message_id"] for one in first["results"] + second["results"]}) == 5
    assert second["next"] is None


# --- Many quarantined messages ------------------------------------------------------------------------------------


def hold(*references: str, component: str = "C", code: str = "unknown_instance") -> list[int]:
    return [
        quarantine.hold(
            json.dumps(message({"business_ref_no": ref, "component_name": component})).encode(),
            source="workflow_manager",
            code=code,
            reason="No such instance",
        ).pk
        for ref in references
    ]


def test_many_are_handed_in_and_each_is_answered(start: Any, service: Caller, operator: Caller):
    template = start()
    component = template["component_name"]
    known, unknown, over = hold("late-1", "never", "late-2", component=component)
    service.post("instances/", {"component_name": component, "business_ref_no": "late-1"})
    operator.post(f"quarantine/{over}/discard/", {"reason": "not needed"})

    said = operator.post("quarantine/resubmit/", {"ids": [unknown, known, over, 987654321], "reason": "they exist now"})

    results = said.json["results"]
    assert [(one["id"], one["status"], one.get("code")) for one in results] == [
        (unknown, 409, "wrong_state"), (known, 200, None), (over, 409, "wrong_state"), (987654321, 404, "not_found"),
    ]  # fmt: skip
    assert (results[1]["state"], results[1]["resolved_by"]) == ("RESUBMITTED", "operator")
    assert results[1]["resolution"] == "applied (they exist now)"
    assert results[0]["detail"] == "There is no such instance."
    assert operator.get(f"quarantine/{unknown}/").json["state"] == "OPEN"


def test_what_the_state_refuses_is_over_and_says_so(start: Any, service: Caller, operator: Caller):
    instance = start()
    service.post("events/", message(instance, event_id="first"))
    (key,) = hold(instance["business_ref_no"], component=instance["component_name"])
    quarantine.QuarantinedMessage.objects.update(
        body=json.dumps(message(instance, "TaskFailed", error={"code": "late"}))
    )

    (result,) = operator.post("quarantine/resubmit/", {"ids": [key]}).json["results"]

    assert (result["status"], result["state"]) == (200, "RESUBMITTED")
    assert result["resolution"].startswith("refused: ")


def test_the_same_wish_twice_finds_nothing_left_to_do(operator: Caller):
    keys = hold("a", "b", "c")

    first = operator.post("quarantine/discard/", {"ids": keys, "reason": "a test"}).json
    second = operator.post("quarantine/discard/", {"ids": keys, "reason": "again"}).json

    assert [one["status"] for one in first["results"]] == [200] * 3
    assert [(one["status"], one["detail"]) for one in second["results"]] == [(409, "The message is DISCARDED.")] * 3
    found = operator.get("quarantine/?state=DISCARDED").json["results"]
    assert {one["resolution"] for one in found} == {"a test"}


def test_all_that_match_are_seen_to_up_to_a_bound(operator: Caller):
    odd = hold("x", code="invalid_json")
    keys = hold("a", "b", "c")

    said = operator.post(
        "quarantine/discard/", {"matching": {"code": "unknown_instance"}, "limit": 2, "reason": "a test"}
    ).json

    assert ([one["id"] for one in said["results"]], said["left"]) == (keys[:2], True)
    until = timezone.now().isoformat()
    rest = {"matching": {"received_until": until, "source": "workflow_manager"}, "reason": "a test"}
    said = operator.post("quarantine/discard/", rest).json
    assert ([one["id"] for one in said["results"]], said["left"]) == ([*odd, keys[2]], False)
    assert operator.post("quarantine/discard/", {"matching": {}, "reason": "a test"}).json == {
        "results": [],
        "left": False,
    }


def test_what_would_match_can_be_looked_at_first(operator: Caller):
    (early,) = hold("a")
    until = moments.now().isoformat()  # by the clock that the rows go by
    hold("b")
    quarantine.hold(b"{", source="elsewhere", code="invalid_json", reason="?")

    def shown(query: str) -> list[int]:
        return [one["id"] for one in operator.get(f"quarantine/?{query}").json["results"]]

    assert shown(f"received_until={until}") == [early]
    assert len(shown("source=workflow_manager")) == 2
    assert len(shown("source=elsewhere&code=invalid_json")) == 1
    assert shown("source=elsewhere&code=unknown_instance") == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/reason": "required"}),
        ({"reason": "x"}, {"/ids": "required"}),
        ({"ids": [1], "matching": {}, "reason": "x"}, {"/matching": "bad_value"}),
        ({"ids": [1, "2", True, 0], "reason": "x"}, {"/ids/1": "wrong_type", "/ids/2": "wrong_type", "/ids/3": "bad_value"}),
        ({"ids": {}, "reason": "x"}, {"/ids": "wrong_type"}),
        ({"ids": [1] * 201, "reason": "x"}, {"/ids": "bad_value"}),
        ({"matching": [], "reason": "x"}, {"/matching": "wrong_type"}),
        ({"matching": {"code": 1, "a/b": "x", "received_until": "noon", "source": ""}, "reason": "x"}, {"/matching/code": "wrong_type", "/matching/a~1b": "bad_value", "/matching/received_until": "bad_value", "/matching/source": "bad_value"}),
        ({"ids": [1], "reason": " "}, {"/reason": "bad_value"}),
        ({"ids": [1], "limit": 201, "reason": "x"}, {"/limit": "bad_value"}),
    ],
)  # fmt: skip
def test_what_such_a_wish_must_say(body: Any, pointers: Any, operator: Caller):
    said = operator.post("quarantine/discard/", body)

    assert (said.status, said.code, said.pointers) == (400, "invalid_body", pointers)
