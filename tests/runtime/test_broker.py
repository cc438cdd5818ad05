"""Whoever looks at the queues waits for the broker no longer than a moment, and asks it no oftener than needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from workflows.runtime import broker
from workflows.runtime.broker import Depth


class Rabbit:
    """A broker that answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.awake = threading.Event()
        self.awake.set()
        self.fault: Exception | None = None

    def ask(self, names: tuple[str, ...], seconds: float) -> dict[str, Depth | None]:
        self.asked.append(names)
        self.awake.wait(30)
        if self.fault is not None:
            raise self.fault
        return {name: Depth(len(name), 1) for name in names}


@pytest.fixture
def rabbit(settings: Any) -> Iterator[Rabbit]:
    settings.BROKER_URL = "amqp://nobody"
    one = Rabbit()
    broker.ask_with(one.ask)
    yield one
    one.awake.set()
    broker.ask_with(None)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_without_a_broker_there_is_nothing_to_ask(settings: Any) -> None:
    settings.BROKER_URL = None

    assert broker.look(["q"]) == broker.Broker(used=False)


def test_an_answer_is_good_for_a_few_seconds(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert broker.look(["a", "bc"]).depths == {"a": Depth(1, 1), "bc": Depth(2, 1)}
    assert broker.look(["a"]).depths["a"] == Depth(1, 1)
    assert rabbit.asked == [("a", "bc")]

    monkeypatch.setattr(broker, "FRESH", 0)
    broker.look(["a"])

    assert rabbit.asked == [("a", "bc"), ("a",)]


def test_another_queue_is_asked_for_with_the_others(rabbit: Rabbit) -> None:
    broker.look(["a"])
    broker.look(["b"])

    assert broker.look(["a", "b"]).depths.keys() == {"a", "b"}
    assert rabbit.asked == [("a",), ("a", "b")]


def test_a_broker_that_hangs_keeps_nobody_waiting_and_is_asked_once(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "PATIENCE", 0.5)
    rabbit.awake.clear()

    begun = time.monotonic()
    looks = [broker.look(["a"]) for _ in range(50)]

    assert time.monotonic() - begun < 10  # the first waits, the others do not
    assert [look.error for look in looks] == ["It has not answered within 0.5 seconds."] * 50
    assert not any(look.answers for look in looks)
    assert rabbit.asked == [("a",)]

    rabbit.awake.set()
    until(lambda: broker.look(["a"]).answers)
    assert rabbit.asked == [("a",)]  # the late answer is there for the next who looks


def test_that_it_is_down_is_remembered_for_all_queues(rabbit: Rabbit) -> None:
    rabbit.fault = OSError("connection refused")

    assert broker.look(["a"]).error == "connection refused"
    assert broker.look(["b"]).error == "connection refused"
    assert rabbit.asked == [("a",)]


def test_another_broker_is_another_question(rabbit: Rabbit, settings: Any) -> None:
    broker.look(["a"])
    settings.BROKER_URL = "amqp://elsewhere"

    broker.look(["a"])

    assert rabbit.asked == [("a",), ("a",)]
