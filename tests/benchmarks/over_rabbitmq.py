"""The same pizzas over RabbitMQ: services that only know the contract, and worker processes of the product."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amqp
import psycopg
from kombu import Connection

from tests import engines, servers
from tests.benchmarks.databases import Databases, product
from tests.benchmarks.racing import percentile
from tests.tree import ROOT

INBOUND = "workflow_manager"
QUEUES = (
    "confirm_order_queue",
    "make_food_queue",
    "assign_executive_queue",
    "confirm_delivery_queue",
    "deliver_food_queue",
)
WARM_UP = 20
PREFETCH = 200
PATIENCE = 30


class Services:
    """All services of the pizza in one connection: each answers what it is sent, at once."""

    def __init__(self, url: str) -> None:
        self.connection: Any = Connection(url).connection
        self.channel = self.connection.channel()
        self.channel.basic_qos(0, PREFETCH, False)
        self.answered = 0
        self.heard: list[dict[str, Any]] = []
        self.heard_at: dict[str, float] = {}
        for queue in (INBOUND, *QUEUES):
            try:
                self.channel.queue_declare(queue, passive=True)
            except amqp.NotFound:
                self.channel = self.connection.channel()
                self.channel.basic_qos(0, PREFETCH, False)
                self.channel.queue_declare(queue, durable=True, auto_delete=False)
        for queue in QUEUES:
            self.channel.basic_consume(queue, callback=self._take)

    def start(self, numbers: Iterable[int]) -> None:
        """Ask for new orders."""
        for number in numbers:
            self.send(
                {"business_ref_no": f"ORDER-{number}", "component_name": "ITALIAN", "event_name": "StartWorkflow"}
            )

    def send(self, body: dict[str, Any]) -> None:
        """Send what a service sends."""
        message = amqp.Message(json.dumps(body), content_type="application/json", delivery_mode=2)
        self.channel.basic_publish(message, exchange="", routing_key=INBOUND)

    def work(self, until: int) -> None:
        """Answer until so many tasks have been answered."""
        end = time.monotonic() + PATIENCE
        while self.answered < until:
            if not self.heard:
                self._drain(end)
            # Not in the callback: publishing reads from the connection too, and more may be heard meanwhile.
            heard, self.heard = self.heard, []
            for task in heard:
                self.send(done(task))
            self.answered += len(heard)

    def hear(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many tasks, without answering them."""
        end = time.monotonic() + PATIENCE
        while len(self.heard) < count:
            self._drain(end)
        heard, self.heard = self.heard, []
        return heard

    def consumers(self) -> int:
        """Return how many workers take from the inbound queue."""
        return int(self.channel.queue_declare(INBOUND, passive=True).consumer_count)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _drain(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise RuntimeError(f"No task has come for too long; {self.answered} were answered.")
        self.connection.drain_events(timeout=left)

    def _take(self, message: Any) -> None:
        moment = time.perf_counter()
        self.channel.basic_ack(message.delivery_tag)
        task = json.loads(message.body)
        self.heard_at[task["task_name"]] = moment
        self.heard.append(task)


def done(task: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a task."""
    kept = ("business_ref_no", "component_name", "stage_name", "task_name", "task_type", "attempt")
    return {"event_name": "TaskCompleted", **{key: task[key] for key in kept}}


def run(databases: Databases, *, instances: int, workers: int = 2) -> dict[str, Any]:
    """Time the pizzas from the first order on the bus to the last commit."""
    with _shop(databases, workers) as (services, url):
        services.start(range(-WARM_UP, 0))
        services.work(5 * WARM_UP)
        _all_done(url, WARM_UP)
        begun = time.monotonic()
        services.start(range(1, instances + 1))
        services.work(5 * (WARM_UP + instances))
        _all_done(url, WARM_UP + instances)
        seconds = time.monotonic() - begun
        product(databases, "check", url, instances=WARM_UP + instances)
    return {"instances": instances, "seconds": seconds}


def latency(databases: Databases, *, instances: int) -> dict[str, Any]:
    """Time the way from a service's answer to each next service's message, one instance and one answer at a time.

    As in the yardstick, an answer is given when the one before it has been applied: what is timed is never the wait
    behind another one.
    """
    took: list[float] = []
    with _shop(databases, 1) as (services, url), psycopg.connect(url, autocommit=True) as database:
        for number in range(-WARM_UP, instances):
            services.start([number])
            waiting = services.hear(1)
            while waiting:
                task = waiting.pop(0)
                begun = time.perf_counter()
                services.send(done(task))
                follow = _FOLLOW[task["task_name"]]
                heard = services.hear(follow)
                if number >= 0:
                    took += [services.heard_at[one["task_name"]] - begun for one in heard]
                if not follow:
                    _completed(database, task)
                waiting += sorted(heard, key=lambda one: _FOLLOW[one["task_name"]])
        _all_done(url, WARM_UP + instances)
        product(databases, "check", url, instances=WARM_UP + instances)
    return {"instances": instances, "p50": percentile(took, 0.5), "p95": percentile(took, 0.95)}


# The food is answered before the rider: nothing follows from it alone.
_FOLLOW = {"confirm_order": 2, "make_food": 0, "assign_executive": 1, "confirm_delivery": 1, "deliver_food": 0}


def _completed(database: psycopg.Connection[Any], task: dict[str, Any]) -> None:
    """Wait until a task from which nothing follows has been completed."""
    end = time.monotonic() + PATIENCE
    while not database.execute(
        "SELECT 1 FROM workflows_taskinstance WHERE instance_id = %s AND task_name = %s AND state = 'COMPLETED'",
        [task["instance_id"], task["task_name"]],
    ).fetchone():
        if time.monotonic() > end:
            raise RuntimeError(f"{task['task_name']} of {task['business_ref_no']} was not completed.")
        time.sleep(0.001)


@contextmanager
def _shop(databases: Databases, workers: int) -> Iterator[tuple[Services, str]]:
    broker = engines.rabbitmq().url
    url = databases.ready("postgresql")
    settings = {
        "DATABASE_URL": url,
        "BROKER_URL": broker,
        "DATA_DIR": str(databases.folder),
        "SECRET_KEY": "benchmarks-only-" + "9" * 50,
    }
    log = Path(databases.folder) / "workers.log"
    with log.open("wb") as output:
        processes = [
            subprocess.Popen(
                [sys.executable, "manage.py", "run_worker", "--only", "inbound,relay"],
                cwd=ROOT, env=servers.environment(**settings), stdout=output, stderr=output,
            )
            for _ in range(workers)
        ]  # fmt: skip
    services = Services(broker)
    try:
        end = time.monotonic() + 60
        while services.consumers() < workers:
            if time.monotonic() > end:
                raise RuntimeError(f"The workers do not take messages:\n{log.read_text()[-5_000:]}")
            time.sleep(0.05)
        yield services, url
    finally:
        services.close()
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)
        empty(broker)
        databases.drop(url)


def is_declared(broker: str) -> bool:
    """Tell whether a worker has made its queue. Made by somebody else, it would be another kind of queue, and a warning."""
    connection: Any = Connection(broker).connection
    try:
        connection.channel().queue_declare(INBOUND, passive=True)
    except amqp.NotFound:
        return False
    finally:
        connection.close()
    return True


def empty(broker: str) -> None:
    """Leave no message behind for the next run."""
    connection: Any = Connection(broker).connection
    for queue in (INBOUND, *QUEUES):
        connection.channel().queue_delete(queue)
    connection.close()


def _all_done(url: str, instances: int) -> None:
    end = time.monotonic() + PATIENCE
    with psycopg.connect(url, autocommit=True) as database:
        while True:
            row = database.execute(
                "SELECT COUNT(*) FROM workflows_workflowinstance WHERE state = 'COMPLETED'"
            ).fetchone()
            assert row is not None
            if row[0] >= instances:
                return
            if time.monotonic() > end:
                raise RuntimeError(f"{row[0]} of {instances} instances are completed.")
            time.sleep(0.01)
