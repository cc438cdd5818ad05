"""What breaks while services work over a broker: the connection, the process. Nothing is lost, nothing done for nothing."""

import signal
import threading
from collections import Counter
from urllib.parse import urlsplit

import pytest

from tests.client.broker import Broker, Program, until, work
from tests.proxy import Proxy
from workflows.client import MemoryAnswers, Services, amqp

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def broker(rabbitmq_url):
    broker = Broker(rabbitmq_url)
    yield broker
    broker.close()


@pytest.fixture
def line(rabbitmq_url):
    parts = urlsplit(rabbitmq_url)
    with Proxy((parts.hostname, parts.port or 5672)) as proxy:
        yield proxy


@pytest.fixture
def serve(broker, line):
    """Make services whose connection can be broken."""
    made = []

    def make(**options):
        url = urlsplit(broker.url)
        through = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{line.port}").geturl()
        services = Services(through, inbound_queue=broker.inbound, **{"announce_after": None, **options})
        made.append(services)
        return services

    yield make
    line.heal()
    for services in made:
        services.stop(5)


def test_a_connection_that_is_cut_again_and_again_loses_nothing(broker, line, serve):
    services = serve(concurrency=4)
    done = Counter()
    lock = threading.Lock()

    @services.service(broker.queue)
    def count(task):
        with lock:
            done[task.business_ref_no] += 1
        return {"n": task.context["n"]}

    services.start()
    broker.send(*(work(n, context={"n": n}) for n in range(300)))
    for least in (20, 80, 140, 200, 260):
        until(lambda least=least: len(done) >= least, what=f"the first {least}")
        line.cut()
    until(lambda: len(done) == 300, what="all of the work")
    said = {}
    while len(said) < 300:
        for answer in broker.answers(1):
            said[answer["business_ref_no"]] = answer

    assert {answer["output"]["n"] for answer in said.values()} == set(range(300))
    assert set(done.values()) == {1}
    assert services.stop()
    until(lambda: broker.waiting() == 0, what="the last acknowledgement")


def test_work_that_ends_while_the_broker_is_away_is_answered_when_it_is_back(broker, line, serve):
    services = serve()
    begun, done, go = [], [], threading.Event()

    @services.service(broker.queue)
    def wait(task):
        begun.append(task)
        assert go.wait(30)
        done.append(task)

    broker.send(work(1), work(2))
    services.start()
    until(lambda: len(begun) == 2, what="the beginning")
    line.refuse()
    go.set()
    until(lambda: len(done) == 2, what="the end of the work")
    assert broker.read() is None
    line.heal()

    references = {answer["business_ref_no"] for answer in broker.answers(2)}
    assert references == {"R-1", "R-2"}
    assert services.stop()
    until(lambda: broker.waiting() == 0, what="the acknowledgement of what came again")
    assert len(done) == 2


def test_an_answer_whose_confirm_is_lost_is_sent_again_as_the_same(broker, line, serve):
    services = serve()
    begun, go = threading.Event(), threading.Event()

    @services.service(broker.queue)
    def wait(task):
        begun.set()
        assert go.wait(30)

    broker.send(work())
    services.start()
    assert begun.wait(30)
    line.hold("down")
    go.set()
    (first,) = broker.answers(1)
    line.cut()
    line.heal()
    (second,) = broker.answers(1)

    assert first == second
    assert services.stop()
    until(lambda: broker.waiting() == 0, what="the acknowledgement")


def test_a_broker_that_falls_silent_is_left(broker, line, serve, monkeypatch):
    monkeypatch.setattr(amqp, "CONFIRM_SECONDS", 1)
    monkeypatch.setattr(amqp, "CONNECT_SECONDS", 1)
    services = serve()
    begun, go = threading.Event(), threading.Event()

    @services.service(broker.queue)
    def wait(task):
        begun.set()
        assert go.wait(30)

    broker.send(work(1))
    services.start()
    assert begun.wait(30)
    before = line.accepted
    # Nothing is refused, nothing is reset, and nothing comes any more: not for the next connection either.
    line.hold("down")
    go.set()
    until(lambda: line.accepted > before, what="the next connection")
    line.heal()
    broker.send(work(2))
    references = {answer["business_ref_no"] for answer in broker.answers(2)}
    references |= {answer["business_ref_no"] for answer in (broker.answers(1) if len(references) == 1 else [])}

    assert references == {"R-1", "R-2"}


def test_a_store_that_fails_now_and_then_stops_nobody(broker, serve, caplog):
    class Shaky(MemoryAnswers):
        def __init__(self):
            super().__init__()
            self.failures = 2

        def get(self, key):
            if self.failures:
                self.failures -= 1
                raise OSError("the disk is full")
            return super().get(key)

        def put(self, key, answer):
            raise OSError("the disk is full")

    services = serve(answers=Shaky())
    done = []
    services.service(broker.queue)(lambda task: done.append(task))
    broker.send(work())
    services.start()

    assert broker.answers(1)[0]["event_name"] == "TaskCompleted"
    assert len(done) == 1
    assert "could not be kept" in caplog.text


def test_a_service_that_is_told_to_end_finishes_and_leaves_the_rest(broker, tmp_path):
    program = Program(tmp_path, broker.url, broker.queue, broker.inbound)
    try:
        broker.send(*(work(n) for n in range(5)))
        until(lambda: len(program.lines()) == 2, what="the beginning")
        program.process.send_signal(signal.SIGTERM)
        until(lambda: broker.waiting() == 3, what="the return of what had not begun")
        assert program.process.poll() is None
        program.go()

        assert program.process.wait(30) == 0
    finally:
        program.end()
    assert Counter(line.split()[0] for line in program.lines()) == {"begin": 2, "end": 2, "finished": 1}
    assert program.lines()[-1] == "finished True"
    assert len(broker.answers(2)) == 2
    assert broker.read() is None
    assert broker.waiting() == 3


def test_the_work_of_a_killed_service_is_done_by_another(broker, tmp_path):
    first = Program(tmp_path, broker.url, broker.queue, broker.inbound)
    try:
        broker.send(work(1), work(2))
        until(lambda: len(first.lines()) == 2, what="the beginning")
        first.process.kill()
        first.process.wait(20)
        until(lambda: broker.waiting() == 2, what="the return of the work")
    finally:
        first.end()
    second = Program(tmp_path, broker.url, broker.queue, broker.inbound)
    try:
        second.go()
        answers = broker.answers(2)
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(30) == 0
    finally:
        second.end()

    assert {answer["business_ref_no"] for answer in answers} == {"R-1", "R-2"}
    assert {answer["output"]["done_by"].rpartition("-")[2] for answer in answers} == {str(second.process.pid)}
    assert broker.waiting() == 0


def test_a_second_signal_ends_it_at_once(broker, tmp_path):
    program = Program(tmp_path, broker.url, broker.queue, broker.inbound)
    try:
        broker.send(work(1))
        until(lambda: program.lines(), what="the beginning")
        program.process.send_signal(signal.SIGINT)
        until(lambda: "told to end" in program.printed(), what="the first signal's effect")
        program.process.send_signal(signal.SIGINT)

        assert program.process.wait(15) == 0
    finally:
        program.end()
    assert program.lines()[-1] == "finished False"
    until(lambda: broker.waiting() == 1, what="the return of the work")
