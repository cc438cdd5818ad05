"""Work from a real broker: every message is answered, each attempt is done once, nothing is lost."""

import asyncio
import threading
import time

import pytest

from tests.client.broker import Broker, until, work
from workflows.client import Services, SqliteAnswers, TaskFailed
from workflows.client.testing import cancel_task, compensate_task


@pytest.fixture
def broker(rabbitmq_url):
    broker = Broker(rabbitmq_url)
    yield broker
    broker.close()


@pytest.fixture
def serve(broker):
    """Make services that are stopped at the end of the test."""
    made = []

    def make(**options):
        services = Services(broker.url, inbound_queue=broker.inbound, **{"announce_after": None, **options})
        made.append(services)
        return services

    yield make
    for services in made:
        services.stop(5)


def test_work_is_answered_and_acknowledged(broker, serve):
    services = serve()

    @services.service(broker.queue)
    def double(task):
        if task.context["n"] == 3:
            raise TaskFailed("three", "I do not like it.", retry=False)
        return {"n": 2 * task.context["n"]}

    @services.compensation(broker.queue)
    async def halve(task):
        return {"n": task.output["n"] // 2}

    broker.send(*(work(n, context={"n": n}) for n in range(20)), compensate_task(output={"n": 8}))
    services.start()
    answers = broker.answers(21)

    assert sorted(a["output"]["n"] for a in answers if "compensation" not in a and "output" in a) == [
        2 * n for n in range(20) if n != 3
    ]
    (failed,) = [a for a in answers if a["event_name"] == "TaskFailed"]
    assert (failed["business_ref_no"], failed["retry"]) == ("R-3", False)
    assert [a["output"] for a in answers if "compensation" in a] == [{"n": 4}]
    assert services.stop()
    assert broker.waiting() == 0


def test_as_many_at_once_as_was_asked_for(broker, serve):
    services = serve(concurrency=3)
    at_once, most = 0, 0
    lock, all_there = threading.Lock(), threading.Barrier(3, timeout=20)

    @services.service(broker.queue)
    def meet(task):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        all_there.wait()
        with lock:
            at_once -= 1

    broker.send(*(work(n) for n in range(9)))
    services.start()
    answers = broker.answers(9)

    assert {a["event_name"] for a in answers} == {"TaskCompleted"}
    assert most == 3


def test_a_repeated_message_is_answered_alike_and_done_once(broker, serve):
    services = serve(concurrency=4)
    done = []
    go = threading.Event()

    @services.service(broker.queue)
    def count(task):
        done.append(task.attempt)
        assert go.wait(20)
        return {"times": len(done)}

    # While it is in hand …
    broker.send(work(), work(), work())
    services.start()
    until(lambda: done, what="the beginning")
    go.set()
    (answer,) = broker.answers(1)
    # … and after it was answered, and the broker has said that it has the answer.
    assert services._desk.wait(20)
    broker.send(work())
    (again,) = broker.answers(1)
    broker.send(work(attempt=2))
    (second,) = broker.answers(1)

    assert again == answer
    assert (second["attempt"], second["output"]) == (2, {"times": 2})
    assert done == [1, 2]
    assert services.stop()
    assert broker.waiting() == 0


def test_a_file_of_answers_outlives_the_service(broker, serve, tmp_path):
    done = []
    said = []
    for _ in range(2):
        services = serve(answers=SqliteAnswers(tmp_path / "answers.sqlite3"))
        services.service(broker.queue)(lambda task: done.append(1))
        broker.send(work())
        services.start()
        said += broker.answers(1)
        services.stop()

    assert said[0] == said[1]
    assert done == [1]


def test_what_is_no_work_stops_nobody(broker, serve, caplog):
    services = serve(concurrency=1, prefetch=1)
    services.service(broker.queue)(lambda task: None)
    rubbish = [b"{bad", b"\xff\x00", b"[]", b"{}", b"[" * 50_000, work(event_name="Unheard"), work(attempt=-1)]

    broker.send(*rubbish, work())
    services.start()

    assert broker.answers(1)[0]["event_name"] == "TaskCompleted"
    until(lambda: broker.waiting(broker.dead) == len(rubbish), what="the last of the dead letters")
    assert "goes to the dead letters" in caplog.text


def test_long_work_is_announced_once(broker, serve):
    services = serve(announce_after=0.1, name="oven-1")
    go = threading.Event()

    @services.service(broker.queue)
    def wait(task):
        assert task.attempt == 2 or go.wait(20)

    broker.send(work(attempt=2))
    services.start()
    (quick,) = broker.answers(1)
    broker.send(work())
    (begun,) = broker.answers(1)
    go.set()
    (done,) = broker.answers(1)

    assert (quick["event_name"], quick["attempt"]) == ("TaskCompleted", 2)
    assert (begun["event_name"], begun["worker_id"], begun["attempt"]) == ("TaskStarted", "oven-1", 1)
    assert done["event_name"] == "TaskCompleted"


def test_the_newest_report_of_long_work_is_sent(broker, serve):
    services = serve(name="oven-1")
    go = threading.Event()

    @services.service(broker.queue)
    def wait(task):
        for percent in range(41):
            task.report(percent)
        go.wait(20)

    broker.send(work())
    services.start()
    said = broker.answers(1)
    while said[-1]["progress"]["percent"] < 40:
        said += broker.answers(1)
    go.set()
    (done,) = broker.answers(1)

    assert len(said) <= 2
    assert {(one["event_name"], one["worker_id"]) for one in said} == {("TaskStarted", "oven-1")}
    assert done["event_name"] == "TaskCompleted"


def test_withdrawn_work_is_told_or_never_begun(broker, serve):
    services = serve(concurrency=1, prefetch=10)
    begun = []
    go = threading.Event()

    @services.service(broker.queue)
    def work_on(task):
        begun.append(task.business_ref_no)
        until(lambda: task.cancelled or go.is_set(), what="the end")
        task.raise_if_cancelled()
        return {}

    services.start()
    # The third was withdrawn before its own message came.
    broker.send(cancel_task(work(3)), work(1), work(2), cancel_task(work(2)), work(3), work(4))
    until(lambda: begun == ["R-1"], what="the first")
    broker.send(cancel_task(work(1)))
    until(lambda: begun == ["R-1", "R-4"], what="the fourth")
    go.set()
    answers = broker.answers(1)

    assert [(a["business_ref_no"], a["event_name"]) for a in answers] == [("R-4", "TaskCompleted")]
    assert services.stop()
    assert broker.waiting() == 0
    assert broker.read() is None


def test_answers_wait_for_a_queue_that_is_not_there_yet(broker, serve, caplog):
    services = serve()
    services.service(broker.queue)(lambda task: None)
    broker.channel.queue_delete(broker.inbound)

    broker.send(work())
    services.start()
    until(lambda: "no room for answers" in caplog.text, what="the first return")
    broker.channel.queue_declare(broker.inbound, durable=True, auto_delete=False)

    assert broker.answers(1)[0]["event_name"] == "TaskCompleted"


def test_a_queue_that_nobody_has_made_is_made(broker, serve):
    services = serve()
    broker.channel.queue_delete(broker.queue)
    services.service(broker.queue)(lambda task: None)

    services.start()

    def made():
        try:
            return broker.waiting() == 0
        except broker.channel.connection.channel_errors:
            broker.channel = broker.channel.connection.channel()
            broker.channel.auto_decode = False
            return False

    until(made, what="the queue")
    # As everybody declares one, else the broker would refuse.
    broker.channel.queue_declare(broker.queue, durable=True, auto_delete=False)
    broker.send(work())
    assert len(broker.answers(1)) == 1


def test_a_stop_finishes_what_runs_and_gives_the_rest_back(broker, serve):
    services = serve(concurrency=2, prefetch=10)
    begun, go = [], threading.Event()

    @services.service(broker.queue)
    def wait(task):
        begun.append(task)
        assert go.wait(20)

    broker.send(*(work(n) for n in range(8)))
    services.start()
    until(lambda: len(begun) == 2, what="the first two")
    until(lambda: broker.waiting() == 0, what="the prefetch")
    stopping = threading.Thread(target=services.stop)
    stopping.start()
    until(lambda: broker.waiting() == 6, what="the return of what had not begun")
    go.set()
    stopping.join(20)

    assert not stopping.is_alive()
    assert len(broker.answers(2)) == 2
    assert broker.read() is None
    assert broker.waiting() == 6


def test_a_stop_does_not_wait_for_ever(broker, serve):
    services = serve()
    go, begun = threading.Event(), threading.Event()

    @services.service(broker.queue)
    def hang(task):
        begun.set()
        go.wait(60)

    broker.send(work())
    services.start()
    assert begun.wait(20)
    before = time.monotonic()

    assert services.stop(0.5) is False

    assert time.monotonic() - before < 15
    until(lambda: broker.waiting() == 1, what="the return of the message")
    go.set()


def test_a_coroutine_that_is_not_finished_in_time_is_given_back_without_an_answer(broker, serve):
    services = serve(concurrency=50)
    begun = []

    @services.service(broker.queue)
    async def sleep(task):
        begun.append(task)
        await asyncio.sleep(600)

    broker.send(*(work(n) for n in range(50)))
    services.start()
    # All at once, in one thread.
    until(lambda: len(begun) == 50, what="the beginning of all")
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("service ")]

    assert len(threads) <= 1
    assert services.stop(0.2) is False
    until(lambda: broker.waiting() == 50, what="the return of the messages")
    assert broker.read() is None
