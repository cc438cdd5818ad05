"""The data of an instance with where each key came from, and the messages that it sent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.http import urlencode

from tasks_ui import words
from tasks_ui.words import Sign
from workflows.definitions.schema import WorkflowDefinition
from workflows.definitions.search import values_of
from workflows.models import LoggedEvent, OutboxMessage
from workflows.runtime.masking import MASK, masked

_SHORT = 120


@dataclass(frozen=True, slots=True)
class Datum:
    """One key of the context. `long` is the value in full where the short form does not hold it."""

    key: str
    value: str
    long: str
    by: str
    node: str
    sequence: int | None


@dataclass(frozen=True, slots=True)
class Message:
    """One outbound message."""

    id: uuid.UUID
    number: int
    name: str
    queue: str
    node: str
    title: str
    attempt: int
    sign: Sign
    created_at: Any
    sent_at: Any
    error: str
    payload: str


def context_of(
    instance: uuid.UUID, context: Mapping[str, Any], *, titles: Mapping[str, str], until: int, whence: bool = True
) -> list[Datum]:
    """This will list the context's keys, each with the task that wrote it last; without `whence`, without asking."""
    origin: dict[str, tuple[str, int]] = {}
    if whence:
        rows = LoggedEvent.objects.filter(
            instance=instance, event__in=["WorkflowStarted", "TaskCompleted"], sequence__lte=until
        ).order_by("sequence")
        for sequence, stage, task, data in rows.values_list("sequence", "stage_name", "task_name", "data").iterator():
            written = (data or {}).get("output" if task else "context") or {}
            for key in written:
                origin[key] = (f"{stage}/{task}" if task else "", sequence)
    return [_datum(key, value, origin.get(key), titles) for key, value in context.items()]


def found_by(definition: WorkflowDefinition, context: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """This will list the search fields: name, value as it is shown, the filter that finds instances like this one."""
    values = values_of(definition.search, context)
    return [
        (field.name, _plain(values[field.name]), _asked(field.name, values[field.name]))
        if field.name in values
        else (field.name, "", "")
        for field in definition.search
    ]


def _asked(name: str, value: Any) -> str:
    # Whitespace at the ends is lost in an address: such a value is shown, and leads nowhere. Nor does a masked one.
    said = value if isinstance(value, str) else json.dumps(value)
    return urlencode({f"search.{name}": said}) if said and said == said.strip() and said != MASK else ""


def messages_of(
    instance: uuid.UUID,
    *,
    titles: Mapping[str, str],
    size: int,
    before: int | None = None,
    node: tuple[str, str] | None = None,
) -> list[Message]:
    """This will list what was sent, newest first."""
    rows = OutboxMessage.objects.filter(instance=instance).select_related("instance")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    if node is not None:
        rows = rows.filter(stage_name=node[0], task_name=node[1])
    return [_message(row, titles) for row in rows.order_by("-pk")[:size]]


def _message(row: Any, titles: Mapping[str, str]) -> Message:
    node = f"{row.stage_name}/{row.task_name}"
    return Message(
        id=row.message_id, number=row.pk, name=row.event_name, queue=row.queue, node=node,
        title=titles.get(node) or words.readable(row.task_name), attempt=row.attempt,
        sign=words.message_sign(row.state), created_at=row.created_at, sent_at=row.sent_at, error=row.error,
        payload=json.dumps(
            masked(row.payload, template=row.instance.template_id), ensure_ascii=False, indent=2)[:20_000],
    )  # fmt: skip


def _datum(key: str, value: Any, origin: tuple[str, int] | None, titles: Mapping[str, str]) -> Datum:
    short = _plain(value)
    long = ""
    if isinstance(value, (dict, list)) and value:
        long = json.dumps(value, ensure_ascii=False, indent=2)[:20_000]
        short = f"{len(value)} {'key' if isinstance(value, dict) else 'entry'}{'s' if len(value) != 1 else ''}"
        short = short.replace("entrys", "entries")
    elif len(short) > _SHORT:
        long, short = short[:20_000], short[:_SHORT] + "…"
    node, sequence = origin or ("", None)
    by = titles.get(node, words.readable(node.partition("/")[2])) if node else ""
    return Datum(key=key, value=short, long=long, by=by, node=node, sequence=sequence)


def _plain(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
        case str():
            return value or "“”"
        case _:
            return json.dumps(value, ensure_ascii=False)
