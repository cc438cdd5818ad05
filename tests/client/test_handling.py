"""What a function makes of a message, without any server: how a user of the client tests a service, too."""

import logging
import math
import re

import pytest

from tests.tree import ROOT
from workflows import client
from workflows.client import Services, TaskCancelled, TaskFailed, UnreadableMessage
from workflows.client.tasks import Task
from workflows.client.testing import cancel_task, compensate_task, start_task


@pytest.fixture
def services():
    return Services()


def test_what_a_function_returns_is_the_output(services):
    @services.service("make_food_queue")
    def make_food(task):
        return {"pizza": task.context["pizza"], "oven": task.extra["oven"], "try": task.attempt}

    answer = services.handle(start_task(context={"pizza": "Diavola"}, oven=3, attempt=2))

    event_id = answer.pop("event_id")
    assert len(event_id) == 36
    assert answer == {
        "business_ref_no": "TEST-1",
        "component_name": "TESTS",
        "workflow_name": "Test",
        "stage_name": "STAGE",
        "task_name": "task",
        "task_type": "SERVICE",
        "attempt": 2,
        "event_name": "TaskCompleted",
        "output": {"pizza": "Diavola", "oven": 3, "try": 2},
    }


def test_nothing_returned_is_an_empty_output(services):
    services.service("a_queue")(lambda task: None)

    assert services.handle(start_task())["output"] == {}


def test_a_coroutine_function_is_a_function(services):
    @services.service("a_queue")
    async def work(task):
        return {"done": True}

    assert services.handle(start_task())["output"] == {"done": True}


def test_a_failure_has_code_message_and_details(services):
    @services.service("a_queue")
    def work(task):
        raise TaskFailed("no_oven", "All ovens are cold.", {"ovens": 3})

    answer = services.handle(start_task())

    assert answer["event_name"] == "TaskFailed"
    assert answer["error"] == {"code": "no_oven", "message": "All ovens are cold.", "details": {"ovens": 3}}
    assert "retry" not in answer


def test_a_failure_may_be_for_good(services):
    @services.service("a_queue")
    async def work(task):
        raise TaskFailed("no_such_customer", retry=False)

    answer = services.handle(start_task())

    assert answer["retry"] is False
    assert answer["error"] == {"code": "no_such_customer", "message": ""}


def test_any_other_exception_is_a_failure_named_by_its_type(services, caplog):
    @services.service("a_queue")
    def work(task):
        return {"share": 1 / 0}

    answer = services.handle(start_task())

    assert answer["error"] == {"code": "ZeroDivisionError", "message": "division by zero"}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_function_does_not_end_its_service(services, error):
    @services.service("a_queue")
    def work(task):
        raise error

    assert services.handle(start_task())["error"]["code"] == type(error).__name__


DEEP: dict = {}
for _ in range(100):
    DEEP = {"deeper": DEEP}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("text", "must be an object"),
        ([1], "must be an object"),
        ({"a": object()}, "JSON"),
        ({"a": math.nan}, "JSON"),
        ({"a": "\ud800"}, "JSON"),
        ({"a": {1}}, "JSON"),
        ({"a": ["x\0"]}, "NUL"),
        ({"x\0": 1}, "NUL"),
        ({"a": "x" * 1_000_001}, "bytes"),
        (DEEP, "levels"),
    ],
    ids=["text", "list", "object", "nan", "surrogate", "set", "nul", "nul-key", "size", "depth"],
)
def test_an_output_that_the_orchestrator_could_not_read_fails_the_task(services, output, why):
    services.service("a_queue")(lambda task: output)

    answer = services.handle(start_task())

    assert answer["error"]["code"] == "bad_output"
    assert why in answer["error"]["message"]
    assert answer["retry"] is False


def test_words_that_could_not_travel_are_mended(services):
    @services.service("a_queue")
    def work(task):
        raise TaskFailed("odd", "a\0b\ud800c", object())

    error = services.handle(start_task())["error"]

    assert error["message"] == "a\ufffdb?c"
    assert error["details"].startswith("left out")


def test_what_undoes_is_never_what_does(services):
    services.service("pay_queue")(lambda task: {"paid": True})

    answer = services.handle(compensate_task(output={"paid": True}))

    assert (answer["event_name"], answer["compensation"]) == ("TaskFailed", True)
    assert answer["error"]["code"] == "no_function"
    assert "@compensation('pay_queue')" in answer["error"]["message"]


def test_a_compensation_sees_what_it_undoes(services):
    @services.compensation("refund_queue")
    def refund(task):
        assert task.is_compensation
        return {"refunded": task.output["amount"], "of": task.undoes_attempt}

    answer = services.handle(compensate_task(output={"amount": 12}, undoes_attempt=3))

    assert (answer["event_name"], answer["compensation"]) == ("TaskCompleted", True)
    assert answer["output"] == {"refunded": 12, "of": 3}


def test_one_function_may_do_and_undo(services):
    @services.service("stock_queue")
    @services.compensation("stock_queue")
    def stock(task):
        return {"undone": task.is_compensation}

    assert services.handle(start_task())["output"] == {"undone": False}
    assert services.handle(compensate_task())["output"] == {"undone": True}


def test_the_key_of_a_task_outlives_its_attempts(services):
    keys = []
    services.service("a_queue")(lambda task: keys.append(task.idempotency_key))
    services.compensation("a_queue")(lambda task: keys.append(task.idempotency_key))

    for message in (
        start_task(),
        start_task(attempt=2),
        start_task(task_name="another"),
        compensate_task(),
        compensate_task(attempt=2),
        compensate_task(undoes_attempt=2),
    ):
        services.handle(message)

    first, second, another, undo, undo_again, undo_another = keys
    assert first == second
    assert undo == undo_again
    assert len({first, another, undo, undo_another}) == 4


def test_who_is_told_of_a_persons_task_does_not_do_it(services, caplog):
    seen = []

    @services.service("notify_queue")
    def notify(task):
        seen.append(task.message["assigned_to"])
        if len(seen) > 1:
            raise OSError("no mail today")
        return {"sent": True}

    assert services.handle(start_task(task_type="HUMAN", assigned_to="fred")) is None
    assert services.handle(start_task(task_type="HUMAN", assigned_to="fred")) is None
    assert seen == ["fred", "fred"]


def test_how_far_the_work_is_is_told_within_bounds():
    task = Task(start_task(), queue="q")

    assert task.take_progress() is None
    task.report(message="x" * 600)
    task.report(40.5)
    assert task.take_progress() == {"percent": 40.5, "message": ""}
    assert task.take_progress() is None
    task.report(message="x" * 600)
    assert task.take_progress() == {"percent": None, "message": "x" * 500}
    for wrong in (-1, 101, math.nan):
        with pytest.raises(ValueError, match="0 to 100"):
            task.report(wrong)


def test_who_gives_up_withdrawn_work_answers_nothing(services):
    @services.service("a_queue")
    def work(task):
        task.cancel()
        task.raise_if_cancelled()

    @services.service("b_queue")
    def work_on(task):
        task.cancel()
        return {"done": "all the same"}

    @services.service("c_queue")
    def fail(task):
        task.cancel()
        raise TaskCancelled

    assert services.handle(start_task(), queue="a_queue") is None
    # It took effect: where it has to be undone, the orchestrator wants to know.
    assert services.handle(start_task(), queue="b_queue")["event_name"] == "TaskCompleted"
    assert services.handle(start_task(), queue="c_queue") is None
    assert services.handle(cancel_task(start_task()), queue="a_queue") is None


@pytest.mark.parametrize(
    "message",
    [
        b"{bad",
        "[]",
        b"\xff",
        "[" * 100_000,
        {},
        start_task(event_name="Unheard"),
        start_task(attempt=0),
        start_task(attempt=True),
        start_task(attempt="1"),
        start_task(task_name=None),
        {**start_task(), "context": [1]},
    ],
    ids=range(11),
)
def test_what_is_no_message_is_told_apart(services, message):
    services.service("a_queue")(lambda task: None)

    with pytest.raises(UnreadableMessage):
        services.handle(message)


def test_wrong_uses_say_what_to_do(services):
    with pytest.raises(ValueError, match="nothing to serve"):
        services.start("amqp://nowhere.invalid")
    services.service("a_queue")(lambda task: None)
    with pytest.raises(ValueError, match="has a function already"):
        services.service("a_queue")(lambda task: None)
    with pytest.raises(ValueError, match=r"amqp://… .* http://…"):
        services.run("redis://localhost")
    services.service("b_queue")(lambda task: None)
    with pytest.raises(ValueError, match="a_queue, b_queue"):
        services.handle(start_task())


def test_the_example_of_the_guide_is_a_service(monkeypatch):
    guide = (ROOT / "docs" / "services.md").read_text()
    example = re.search(r"```python\n(.*?)```", guide, re.DOTALL).group(1)
    served = []
    monkeypatch.setattr(Services, "run", lambda services: served.append(services))

    exec(example, {})  # noqa: S102

    assert len([line for line in example.splitlines() if line]) <= 10
    assert served[0].handle(start_task(context={"pizza": "Diavola"}))["output"] == {"oven": 2, "pizza": "Diavola"}


def test_there_is_a_short_way(monkeypatch):
    fresh = Services()
    monkeypatch.setattr(client, "_services", fresh)

    @client.service("make_food_queue")
    def make_food(task):
        return {"cooked": True}

    @client.compensation("make_food_queue")
    def throw_away(task):
        return None

    assert fresh.handle(start_task())["output"] == {"cooked": True}
    assert fresh.handle(compensate_task())["output"] == {}
