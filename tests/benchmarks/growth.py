"""A thousand stored instances against a hundred thousand: what an event costs, and the first page of the list."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

import tests.benchmarks.as_site  # noqa: F401
from tests.benchmarks.pizza import SwiftBus, drive, through_the_door
from workflows.messaging.relay import relay_once
from workflows.models import (
    HumanTask,
    LoggedEvent,
    OutboxMessage,
    StageInstance,
    TaskInstance,
    WorkflowInstance,
)

ORIGINALS = 1_000
COPIES = 5
PART_WAY = 5
"""Every so many-th instance stays where it is after its start."""
PAGES = ("/api/v1/instances/", "/api/v1/instances/?state=RUNNING", "/instances/", "/inbox/", "/", "/queues/")
SEARCHES = {
    "equal, few": "search.customer=C77",
    "prefix, many": "search.customer__prefix=C7",
    "range, few": "search.amount__gte=9990",
    "range, many": "search.amount__gte=100",
    "both, many": "search.customer__prefix=C&search.amount__lt=5000",
    "boolean, many": "search.paid=true",
    "absent": "search.paid__exists=false",
    "nothing": "search.customer=nobody",
}
"""What is found by search fields: a thousand customers, ten thousand amounts, yes or no or neither."""
OWN_PAGES = ("/instances/", "/inbox/")
"""What somebody without a role looks at; all instances that came to their person have a task of theirs."""
VIEWS = 40


def fill(*, instances: int) -> dict[str, Any]:
    """Run a thousand instances, most of them to their end, and copy them until there are so many."""
    bus = SwiftBus()

    def relay() -> int:
        return relay_once(bus, timezone.now())

    numbers = range(1, ORIGINALS + 1)
    drive([number for number in numbers if number % PART_WAY], through_the_door, relay, at_once=100)
    for number in numbers:
        if not number % PART_WAY:
            through_the_door([(number, None)])
    while relay():
        pass
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE original AS SELECT id FROM workflows_workflowinstance")
        for model in (WorkflowInstance, StageInstance, TaskInstance, HumanTask, LoggedEvent, OutboxMessage):
            # Not all at once: the site lets no statement run for ever.
            for first in range(1, instances // ORIGINALS, COPIES):
                cursor.execute(_copy(model), [first, min(first + COPIES, instances // ORIGINALS) - 1])
        cursor.execute(_FIELDS)
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    assert WorkflowInstance.objects.count() == instances
    return {}


def _copy(model: Any) -> str:
    """Write the statement that copies all rows of a table so many times; ids of copies are older than the originals'."""
    instance = "('0' || lpad(to_hex(n.n), 5, '0') || substr(replace({column}::text, '-', ''), 7))::uuid"
    chosen = {}
    for field in model._meta.local_concrete_fields:
        column = f"o.{field.column}"
        if field.primary_key and model not in (WorkflowInstance, HumanTask):
            continue  # the database numbers them
        if field.column == "instance_id" or (field.primary_key and model is WorkflowInstance):
            column = instance.format(column=column)
        elif field.primary_key or field.column == "message_id":
            column = f"md5({column}::text || n.n)::uuid"
        elif field.column == "business_ref_no":
            column = f"{column} || '-' || n.n"
        elif field.get_internal_type() == "DateTimeField":
            column = f"{column} - n.n * interval '1 hour'"
        chosen[field.column] = column
    return (
        f"INSERT INTO {model._meta.db_table} ({', '.join(chosen)}) SELECT {', '.join(chosen.values())}"
        f" FROM {model._meta.db_table} o, generate_series(%s, %s) n(n)"
        f" WHERE o.{'id' if model is WorkflowInstance else 'instance_id'} IN (SELECT id FROM original)"
    )


_FIELDS = """
WITH i AS (SELECT id, (row_number() OVER (ORDER BY md5(id::text)))::int n FROM workflows_workflowinstance)
INSERT INTO workflows_searchedvalue (instance_id, name, text, number, boolean)
    SELECT id, f.name, CASE f.name WHEN 'customer' THEN 'C' || n % 1000 END, CASE f.name WHEN 'amount' THEN n % 10000 END,
        CASE WHEN f.name = 'paid' AND n % 100 > 0 THEN n % 2 = 0 END
    FROM i, (VALUES ('customer'), ('amount'), ('paid')) f(name)
"""


def measure(*, instances: int) -> dict[str, Any]:
    """Time events and pages, in seconds."""
    bus = SwiftBus()
    first = 10 * WorkflowInstance.objects.count()  # each round starts instances of its own
    times: list[float] = []

    def timed(dues: Any) -> None:
        begun = time.perf_counter()
        through_the_door(dues)
        times.append(time.perf_counter() - begun)

    drive(range(first, first + 20), through_the_door, lambda: relay_once(bus, timezone.now()), at_once=1)
    drive(range(first + 20, first + 20 + instances), timed, lambda: relay_once(bus, timezone.now()), at_once=1)
    settings.ALLOWED_HOSTS = ["*"]
    users = apps.get_model("auth", "User").objects
    assignee, _ = users.get_or_create(username="rider")
    assignee.groups.add(apps.get_model("auth", "Group").objects.get(name="delivery_executive"))
    lists = ("/api/v1/instances/", "/instances/")
    found = _views(
        users.get(username="benchmark"), [f"{path}?{query}" for path in lists for query in SEARCHES.values()]
    )
    api = {f"search {name}": found[f"/api/v1/instances/?{query}"] for name, query in SEARCHES.items()}
    page = {f"search page {name}": found[f"/instances/?{query}"] for name, query in SEARCHES.items()}
    slowest = {"search": max(api.values()), "search page": max(page.values())}
    own = {f"own {path}": took for path, took in _views(assignee, OWN_PAGES).items()}
    return {
        "event": statistics.median(times),
        **_views(users.get(username="benchmark"), PAGES),
        **own,
        **api,
        **page,
        **slowest,
    }


def _views(user: Any, pages: Sequence[str]) -> dict[str, float]:
    client = Client()
    client.force_login(user)
    result = {}
    for path in pages:
        took = []
        for _ in range(VIEWS):
            begun = time.perf_counter()
            answer = client.get(path, secure=bool(settings.SECURE_SSL_REDIRECT))
            took.append(time.perf_counter() - begun)
            assert answer.status_code == 200, (path, answer.status_code)
        result[path] = statistics.median(took)
    return result


def main(arguments: Sequence[str]) -> None:
    """Run one figure in this process and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=["fill", "measure"])
    parser.add_argument("--instances", type=int, default=ORIGINALS)
    chosen = parser.parse_args(arguments)
    if chosen.figure == "fill":
        result = fill(instances=chosen.instances)
    else:
        result = measure(instances=chosen.instances)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
