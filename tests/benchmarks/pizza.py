"""The product delivers pizzas: the same events as the yardstick, through its one door, with history and outbox.

Run by `databases.product` in a process whose environment names the database. All instances begin, then every task is
answered in the order in which it was scheduled; whenever 100 messages are waiting, the relay takes its turn.
"""

import argparse
import contextlib
import json
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import psycopg
from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections
from django.utils import timezone

from tests.benchmarks.as_site import settings
from tests.benchmarks.racing import Share, percentile, race, shares
from workflows import wiring
from workflows.messaging.port import Outgoing
from workflows.messaging.relay import BATCH, Relay, relay_once
from workflows.models import (
    HumanTask,
    LoggedEvent,
    OutboxMessage,
    StageInstance,
    TaskInstance,
    WorkflowInstance,
    pipeline,
)
from workflows.runtime import listeners, publishing
from workflows.runtime.asking import Answer
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event
from workflows.runtime.replay import check_history

TEMPLATE = {
    "workflow_name": "Deliver Pizza",
    "component_name": "ITALIAN",
    "stages": [
        {"stage_name": "START", "stage_order": 0},
        {
            "stage_name": "ORDER",
            "stage_order": 1,
            "tasks": [{"task_name": "confirm_order", "task_type": "SERVICE", "task_queue": "confirm_order_queue"}],
        },
        {
            "stage_name": "PREPARE",
            "stage_order": 2,
            "tasks": [
                {"task_name": "make_food", "task_type": "SERVICE", "task_queue": "make_food_queue"},
                {"task_name": "assign_executive", "task_type": "SERVICE", "task_queue": "assign_executive_queue"},
                {
                    "task_name": "confirm_delivery",
                    "task_type": "SERVICE",
                    "task_queue": "confirm_delivery_queue",
                    "parent_task": ["make_food", "assign_executive"],
                },
            ],
        },
        {
            "stage_name": "DELIVER",
            "stage_order": 3,
            "tasks": [
                {
                    "task_name": "deliver_food",
                    "task_type": "HUMAN",
                    "task_queue": "deliver_food_queue",
                    "assigned_to": "delivery_executive",
                }
            ],
        },
    ],
}
# What becomes open with each event, when make_food is always answered before assign_executive.
FOLLOWED_BY: dict[str | None, tuple[str, ...]] = {
    None: ("confirm_order",),
    "confirm_order": ("make_food", "assign_executive"),
    "make_food": (),
    "assign_executive": ("confirm_delivery",),
    "confirm_delivery": ("deliver_food",),
    "deliver_food": (),
}
_STAGE = {"confirm_order": "ORDER", "deliver_food": "DELIVER"}
# The twelve of the yardstick, and eight about stages.
HISTORY = {"WorkflowStarted": 1, "TaskScheduled": 5, "TaskCompleted": 5, "WorkflowCompleted": 1}
HISTORY |= {"StageActivated": 4, "StageCompleted": 4}
SAMPLE = 25
WARM_UP = 2

Due = tuple[int, str | None]
"""The number of an instance, and the task that is done; None: it is to begin."""


class SwiftBus:
    """Confirms every message at once, and remembers when it came."""

    name = "swift"
    has_everything = False

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}
        self.news = threading.Condition()
        self.remembers = False

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """Confirm the messages."""
        if self.remembers:
            moment = time.perf_counter()
            bodies = [json.loads(message.body) for message in messages]
            with self.news:
                self.sent.update({f"{body['business_ref_no']}/{body['task_name']}": moment for body in bodies})
                self.news.notify()
        return [None] * len(messages)

    def consume(self, *_: Any, **__: Any) -> int:
        """Bring nothing."""
        return 0

    def tend(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def message(due: Due) -> dict[str, Any]:
    """Return the event as a service sends it."""
    number, task = due
    said = {"business_ref_no": f"ORDER-{number}", "component_name": "ITALIAN"}
    if task is None:
        return {**said, "event_name": "StartWorkflow"}
    stage = _STAGE.get(task, "PREPARE")
    return {**said, "event_name": "TaskCompleted", "stage_name": stage, "task_name": task, "task_type": "SERVICE"}


def through_the_door(dues: Sequence[Due]) -> None:
    """Have the events carried out, in one transaction."""
    answers = handle(*(read_event(message(due), actor="benchmark") for due in dues))
    for due, answer in zip(dues, answers, strict=True):
        _expect(due, answer)


def drive(
    numbers: Iterable[int], carry_out: Callable[[list[Due]], None], relay: Callable[[], int], *, at_once: int
) -> None:
    """Let all instances begin, and answer every task in the order in which it was scheduled."""
    waiting: deque[Due] = deque((number, None) for number in numbers)
    unsent = 0
    while waiting:
        dues = [waiting.popleft() for _ in range(min(at_once, len(waiting)))]
        carry_out(dues)
        for number, task in dues:
            follow = FOLLOWED_BY[task]
            waiting.extend((number, name) for name in follow)
            unsent += len(follow)
        while unsent >= BATCH:
            relay()
            unsent -= BATCH
    while relay():
        pass


def lane(at_once: int) -> Callable[[Share, Callable[[], None]], None]:
    """Make the work of one process."""

    def work(share: Share, ready: Callable[[], None]) -> None:
        bus = SwiftBus()

        def relay() -> int:
            return relay_once(bus, timezone.now())

        for number in range(WARM_UP):  # imports, prepared statements, the template
            drive([-1 - WARM_UP * share[0] - number], through_the_door, relay, at_once=at_once)
        ready()
        drive(share, through_the_door, relay, at_once=at_once)

    return work


def events(*, instances: int, processes: int, at_once: int) -> dict[str, Any]:
    """Time the pizzas, in processes that share the database."""
    connections.close_all()
    if processes == 1:
        times: list[float] = []
        lane(at_once)(range(1, instances + 1), lambda: times.append(time.monotonic()))
        seconds = time.monotonic() - times[0]
    else:
        seconds = race(lane(at_once), shares(1, instances, processes))
    check(instances + WARM_UP * processes)
    return {"instances": instances, "seconds": seconds}


def cost(*, instances: int, at_once: int) -> dict[str, Any]:
    """Count statements and commits for each instance on PostgreSQL, in one process, the relay's included.

    Wake-ups of other processes are counted apart: they wait for no disk, and there are so many a second at most,
    however many instances there are.
    """
    with _counting():
        before: list[int] = []
        lane(at_once)(range(1, instances + 1), lambda: before.extend((_commits(), *_counted)))
        wakeups = _counted[1] - before[2]
        statements = _counted[0] - before[1] - wakeups
    commits = _commits() - before[0] - wakeups
    check(instances + WARM_UP)
    return {
        "instances": instances,
        "statements": statements / instances,
        "commits": commits / instances,
        "wakeups": wakeups / instances,
    }


def latency(*, instances: int) -> dict[str, Any]:
    """Time the way from a completion to the next message on the bus, one instance at a time: commit, wake-up, claim."""
    bus = SwiftBus()
    bus.remembers = True
    relay = Relay(open_bus=lambda: bus, now=timezone.now)
    unsubscribe = listeners.subscribe(relay.heard)
    relay.worker.start()
    took = []
    for number in range(1, instances + WARM_UP + 1):
        waiting: deque[Due] = deque([(number, None)])
        while waiting:
            number, task = waiting.popleft()
            begun = time.perf_counter()
            through_the_door([(number, task)])
            follow = FOLLOWED_BY[task]
            keys = [f"ORDER-{number}/{name}" for name in follow]
            with bus.news:
                if not bus.news.wait_for(lambda keys=keys: all(key in bus.sent for key in keys), 10):
                    raise RuntimeError(f"{keys} were not sent.")
            if task is not None and number > WARM_UP:
                took += [bus.sent[key] - begun for key in keys]
            waiting.extend((number, name) for name in follow)
    unsubscribe()
    relay.worker.stop()
    relay.worker.join(10)
    check(instances + WARM_UP)
    return {"instances": instances, "p50": percentile(took, 0.5), "p95": percentile(took, 0.95)}


def check(instances: int) -> None:
    """Count what was written, and have a sample's rows compared with its log: a fast wrong run is a failed run."""
    tables = [
        (WorkflowInstance.objects.filter(state="COMPLETED"), 1),
        (StageInstance.objects.filter(state="COMPLETED"), 4),
        (TaskInstance.objects.filter(state="COMPLETED"), 5),
        (HumanTask.objects.filter(state="COMPLETED", assigned_kind="group"), 1),
        (OutboxMessage.objects.filter(state="SENT"), 5),
        (OutboxMessage.objects, 5),
    ]
    for rows, each in tables:
        _same(rows.count(), each * instances, rows.model.__name__)
    names = Counter(LoggedEvent.objects.order_by().values_list("event", flat=True).iterator())
    _same(dict(names), {name: each * instances for name, each in HISTORY.items()}, "history")
    every = max(1, instances // SAMPLE)
    for instance in WorkflowInstance.objects.order_by("id")[::every]:
        _same(check_history(instance), [], f"the history of {instance}")


def _check_when_sent(instances: int) -> dict[str, Any]:
    end = time.monotonic() + 30
    while OutboxMessage.objects.exclude(state="SENT").exists() and time.monotonic() < end:
        time.sleep(0.1)
    check(instances)
    return {}


def prepare() -> dict[str, Any]:
    """Make the tables, publish the templates, and make the group and the caller that the runs need."""
    from tests.benchmarks import stage_5000

    call_command("migrate", verbosity=0)
    riders = apps.get_model("auth", "Group").objects.create(name="delivery_executive")
    apps.get_model("auth", "User").objects.create_superuser("benchmark").groups.add(riders)
    for template in (TEMPLATE, *stage_5000.TEMPLATES):
        publishing.publish_template(template, by="benchmark")
    connections.close_all()
    return {}


def _expect(due: Due, answer: Answer) -> None:
    scheduled = answer.events.count("TaskScheduled")
    if answer.outcome != "applied" or scheduled != len(FOLLOWED_BY[due[1]]):
        raise AssertionError(f"{due} was answered {answer}")


def _same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {found}, not {wanted}")


# --- counting ---------------------------------------------------------------------------------------------------------

_counted = [0, 0]


@contextlib.contextmanager
def _counting() -> Iterator[None]:
    """Count every statement that is sent; BEGIN and COMMIT do not count."""
    through_cursors, together = psycopg.Cursor.execute, pipeline.exchange

    def execute(self: Any, *args: Any, **options: Any) -> Any:
        _counted[0] += 1
        _counted[1] += "pg_notify" in str(args[0])
        return through_cursors(self, *args, **options)

    def exchange(raw: Any, statements: Sequence[pipeline.Statement]) -> Any:
        _counted[0] += sum(statement not in (pipeline.BEGIN, pipeline.COMMIT) for statement in statements)
        return together(raw, statements)

    psycopg.Cursor.execute, pipeline.exchange = execute, exchange  # type: ignore[method-assign]
    try:
        yield
    finally:
        psycopg.Cursor.execute, pipeline.exchange = through_cursors, together  # type: ignore[method-assign]


def _commits() -> int:
    """Return how many transactions of this database have been committed so far."""
    time.sleep(1.2)  # a server process tells its counts once a second
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    time.sleep(1.2)
    with connection.cursor() as cursor:
        cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def main(arguments: Sequence[str]) -> None:
    """Run one figure in this process and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=["prepare", "events", "cost", "latency", "check"])
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--remember", type=int, help="how many tasks' worth of snapshots a process may keep")
    chosen = parser.parse_args(arguments)
    if chosen.remember is not None:
        settings.SNAPSHOT_CACHE_TASKS = chosen.remember
    # As in a worker, the relay is at home here: nobody else needs to be woken for it.
    wiring.voice.here = frozenset(wiring.JOBS)
    if chosen.figure == "prepare":
        result = prepare()
    elif chosen.figure == "check":
        result = _check_when_sent(chosen.instances)
    elif chosen.figure == "events":
        result = events(instances=chosen.instances, processes=chosen.processes, at_once=chosen.at_once)
    elif chosen.figure == "cost":
        result = cost(instances=chosen.instances, at_once=chosen.at_once)
    else:
        result = latency(instances=chosen.instances)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
