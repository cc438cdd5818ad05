"""What a subscriber is told at first, and who may see what. These functions ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from django.utils import timezone

from workflows.live.groups import EVERYTHING, MOST_NAMED, OVERLAP, Kind, Topic, moment_of, number_of
from workflows.models import HumanTask, LoggedEvent, Person, WorkflowInstance

_LONG = 24 * 3600 * 1_000_000
"""Microseconds. Who was away longer fetches everything; what has changed since is not looked for."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a topic stands, and what has changed since the client last heard of it."""

    sequence: int
    changed: tuple[str, ...] = ()


def standing_of(topic: Topic, *, person: Person, since: int | None) -> Standing | None:
    """This will tell where a topic stands; None for an instance that the person may not see or that is none."""
    if topic.instance_id is not None:
        return _of_instance(topic.instance_id, person, since)
    return _of_list(topic, person, since)


def _of_instance(instance_id: uuid.UUID, person: Person, since: int | None) -> Standing | None:
    instances = WorkflowInstance.objects.visible_to(person).filter(pk=instance_id)
    sequence = instances.values_list("last_sequence", flat=True).first()
    if sequence is None:
        return None
    if since is None or since == sequence:
        return Standing(sequence)
    if since > sequence:
        return Standing(sequence, EVERYTHING)
    events = LoggedEvent.objects.filter(instance=instance_id, sequence__gt=since).order_by("sequence")
    rows = events.values_list("stage_name", "task_name")[: 10 * MOST_NAMED + 1]
    tasks = tuple(dict.fromkeys(f"{stage}/{task}" for stage, task in rows if task is not None))
    return Standing(sequence, EVERYTHING if len(rows) > 10 * MOST_NAMED else _named(tasks))


def _of_list(topic: Topic, person: Person, since: int | None) -> Standing:
    newest = WorkflowInstance.objects.order_by("-updated_at").values_list("updated_at", flat=True).first()
    sequence = 0 if newest is None else number_of(newest)
    if since is None or since == sequence:
        return Standing(sequence)
    if since > sequence or number_of(timezone.now()) - since > _LONG:
        return Standing(sequence, EVERYTHING)
    after = moment_of(since) - OVERLAP
    if topic.kind == Kind.INBOX:
        changed = (
            HumanTask.objects.visible_to(person)
            .filter(instance__updated_at__gte=after)
            .order_by("-instance__updated_at")
        )
    else:
        changed = WorkflowInstance.objects.visible_to(person).filter(updated_at__gte=after).order_by("-updated_at")  # type: ignore[assignment]
    return Standing(sequence, _named(tuple(str(pk) for pk in changed.values_list("pk", flat=True)[: MOST_NAMED + 1])))


def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    return EVERYTHING if len(names) > MOST_NAMED else names


@dataclass(frozen=True, slots=True)
class Viewers:
    """The people whose human tasks are, or were, of an instance: names of users and of groups."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def include(self, person: Person) -> bool:
        """This will tell whether the person is one of them; the same as `visible_to` says of assignees."""
        return person.username in self.users or not self.groups.isdisjoint(person.groups)


def viewers_of(ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Viewers]:
    """This will give the viewers of each of the instances, by one query."""
    users: dict[uuid.UUID, set[str]] = {pk: set() for pk in ids}
    groups: dict[uuid.UUID, set[str]] = {pk: set() for pk in ids}
    rows = HumanTask.objects.filter(instance__in=ids).order_by()
    for pk, kind, name, *people in rows.values_list(
        "instance_id", "assigned_kind", "assigned_to", "claimed_by", "decided_by"
    ).distinct():
        if name:
            (users if kind == "user" else groups)[pk].add(name)
        users[pk].update(one for one in people if one)
    return {pk: Viewers(frozenset(users[pk]), frozenset(groups[pk])) for pk in ids}


def sequences_of(ids: Collection[uuid.UUID]) -> list[tuple[uuid.UUID, int, int]]:
    """This will give (id, last_sequence, number of the moment) of instances."""
    rows = WorkflowInstance.objects.filter(pk__in=ids).values_list("pk", "last_sequence", "updated_at")
    return [(pk, last_sequence, number_of(updated_at)) for pk, last_sequence, updated_at in rows]


def updated_after(number: int, *, most: int) -> list[tuple[uuid.UUID, int, int]]:
    """This will give (id, last_sequence, number of the moment) of instances updated after a moment, oldest first."""
    rows = (
        WorkflowInstance.objects.filter(updated_at__gt=moment_of(number))
        .order_by("updated_at")
        .values_list("pk", "last_sequence", "updated_at")[:most]
    )
    return [(pk, last_sequence, number_of(updated_at)) for pk, last_sequence, updated_at in rows]


def newest_number() -> int:
    """This will give the number of the newest commit's moment."""
    newest = WorkflowInstance.objects.order_by("-updated_at").values_list("updated_at", flat=True).first()
    return 0 if newest is None else number_of(newest)
