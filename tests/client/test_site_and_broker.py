"""A real site and services, with a real broker between them: the whole way, there and back."""

import threading
import uuid

import pytest

from tests import servers
from tests.client.broker import Broker, until
from tests.client.sites import events, publish, start, state, task_of
from tests.demo.test_demo import get, post
from workflows.client import Services, TaskFailed

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def inbound():
    return f"client-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def site(tmp_path_factory, rabbitmq_url, inbound):
    folder = tmp_path_factory.mktemp("site")
    with servers.demo(folder, BROKER_URL=rabbitmq_url, INBOUND_QUEUE=inbound) as site:
        yield site


@pytest.fixture
def queue():
    return f"queue-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def serve(site, rabbitmq_url, inbound):
    """Make services that are stopped at the end of the test."""
    made = []

    def make(**options):
        services = Services(rabbitmq_url, inbound_queue=inbound, **options)
        made.append(services)
        return services

    yield make
    for services in made:
        services.stop(5)


def test_there_and_back(site, serve, queue):
    services = serve()

    @services.service(queue)
    def work(task):
        if task.attempt == 1:
            raise OSError("not today")
        if task.attempt == 2:
            raise TaskFailed("busy", "Later.", {"seconds": 1})
        return {"seen": task.context["n"], "price": task.extra["price"]}

    component = publish(site, {"task_name": "work", "task_queue": queue, "price": 3, "retry": {"max_attempts": 3}})
    services.start()
    instances = [start(site, component, ref=f"R-{n}", context={"n": n}) for n in range(5)]
    until(lambda: all(state(site, one) == "COMPLETED" for one in instances), seconds=60, what="the end of all")

    assert [get(site, f"instances/{one}/")["context"]["seen"] for one in instances] == list(range(5))
    history = get(site, f"instances/{instances[0]}/history/")["results"]
    errors = [entry["data"]["error"] for entry in history if entry["event"] == "TaskFailed"]
    assert [error["code"] for error in errors] == ["OSError", "busy"]
    assert all("InputRefused" not in events(site, one) for one in instances)


def test_what_failed_for_good_is_undone(site, serve, queue):
    services = serve()
    services.service(queue)(lambda task: {"booking": "B-1"})

    @services.service(f"{queue}-next")
    def fail(task):
        raise TaskFailed("never", retry=False)

    @services.compensation(f"{queue}-undo")
    def undo(task):
        if task.attempt == 1:
            raise TaskFailed("busy")
        assert task.output == {"booking": "B-1"}

    component = publish(
        site,
        {
            "task_name": "work",
            "task_queue": queue,
            "compensate": {"task_queue": f"{queue}-undo", "retry": {"max_attempts": 2}},
        },
        {
            "task_name": "next",
            "task_queue": f"{queue}-next",
            "parent_task": ["work"],
            "on_failure": "rollback",
            "retry": {"max_attempts": 9},
        },
    )
    services.start()
    instance = start(site, component)

    until(lambda: state(site, instance) == "ROLLED_BACK", seconds=60, what="the rollback")
    assert task_of(site, instance, "next")["attempt"] == 1
    assert task_of(site, instance)["state"] == "COMPENSATED"


def test_long_work_is_seen_and_can_be_withdrawn(site, serve, queue):
    services = serve(announce_after=0.1, name="oven-1")
    told = threading.Event()

    @services.service(queue)
    def work(task):
        until(lambda: task.cancelled, seconds=60, what="the withdrawal")
        told.set()
        task.raise_if_cancelled()

    component = publish(site, {"task_name": "work", "task_queue": queue})
    services.start()
    instance = start(site, component)
    until(lambda: task_of(site, instance)["state"] == "STARTED", seconds=60, what="the announcement")
    post(site, f"instances/{instance}/cancel/", {"reason": "No longer needed"}, user="olivia")

    assert told.wait(60)
    assert services.stop()
    assert events(site, instance)[-1] == "WorkflowCancelled"


def test_what_a_service_cannot_read_ends_in_the_quarantine_of_the_site(site, serve, queue, rabbitmq_url):
    services = serve()
    services.service(queue)(lambda task: None)
    component = publish(site, {"task_name": "work", "task_queue": queue})
    services.start()
    until(lambda: state(site, start(site, component)) == "COMPLETED", seconds=60, what="the queue")

    broker = Broker(rabbitmq_url)
    mark = f"odd {queue}"
    broker.send(mark.encode(), queue=queue)

    def held():
        messages = get(site, "quarantine/?limit=200")["results"]
        return any(mark in message["body"] for message in messages)

    until(held, seconds=60, what="the quarantine")
    broker.close()
