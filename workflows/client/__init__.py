"""Services for workflows, in Python: functions that do tasks, fed by a broker or by the orchestrator's HTTP API.

Needs no Django, and nothing but the standard library over HTTP; `py-amqp` for a broker. See docs/services.md.
"""

from __future__ import annotations

from collections.abc import Callable

from workflows.client.services import F, Services
from workflows.client.stores import Answers, MemoryAnswers, SqliteAnswers
from workflows.client.tasks import Task, TaskCancelled, TaskFailed, UnreadableMessage

_services = Services()


def service(queue: str) -> Callable[[F], F]:
    """This will register the function that does the tasks of a queue, for `run`."""
    return _services.service(queue)


def compensation(queue: str) -> Callable[[F], F]:
    """This will register the function that undoes the tasks of a queue, for `run`."""
    return _services.compensation(queue)


def run(url: str, *, token: str | None = None) -> bool:
    """This will serve all functions that `service` and `compensation` have registered, until SIGTERM or SIGINT."""
    return _services.run(url, token=token)


__all__ = [
    "Answers",
    "MemoryAnswers",
    "Services",
    "SqliteAnswers",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "UnreadableMessage",
    "compensation",
    "run",
    "service",
]
