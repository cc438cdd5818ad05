"""What travels between processes after a commit: which instances and human tasks have changed, and whose they are."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.live.groups import number_of
from workflows.models import Person
from workflows.runtime.listeners import Committed, HumanChange


@dataclass(frozen=True, slots=True)
class ChangedHumanTask:
    """A human task that has changed: the names of users and groups that it belongs to now, and belonged to before."""

    id: str
    users: tuple[str, ...]
    groups: tuple[str, ...]
    former_users: tuple[str, ...] = ()
    former_groups: tuple[str, ...] = ()

    def belongs_to(self, person: Person) -> bool:
        """This will tell whether it is the person's now."""
        return person.username in self.users or not person.groups.isdisjoint(self.groups)

    def concerns(self, person: Person) -> bool:
        """This will tell whether it is the person's, or was until now."""
        return (
            self.belongs_to(person)
            or person.username in self.former_users
            or not person.groups.isdisjoint(self.former_groups)
        )


@dataclass(frozen=True, slots=True)
class ChangedInstance:
    """An instance that has changed; `at` is the moment of the commit.

    Of a change that was `missed` and found later, neither the tasks nor the people are known. `heard`: it is no event,
    so that its sequence may be known already.
    """

    id: uuid.UUID
    at: int
    last_sequence: int
    tasks: tuple[str, ...] = ()
    human_tasks: tuple[ChangedHumanTask, ...] = ()
    missed: bool = False
    heard: bool = False

    @property
    def may_concern_others(self) -> bool:
        """This will tell whether it may be other people's business now than before."""
        return self.missed or bool(self.human_tasks)


def changes_of(committed: Committed) -> Iterator[ChangedInstance]:
    """This will give what a commit has changed."""
    at = number_of(committed.at)
    for change in committed.changes:
        yield ChangedInstance(
            id=change.instance_id,
            at=at,
            last_sequence=change.last_sequence,
            tasks=tuple(change.tasks),
            human_tasks=tuple(_human_task(human) for human in change.human_tasks),
            heard=change.heard,
        )


def moment_of_everything(commits: Iterable[Committed]) -> int | None:
    """This will give the newest moment at which the whole engine was paused or went on, None where it was not."""
    return max((number_of(committed.at) for committed in commits if committed.everything), default=None)


def _human_task(human: HumanChange) -> ChangedHumanTask:
    users, groups = _names(human.assigned_kind, human.assigned_to)
    former_users, former_groups = _names(*human.before) if human.before else ((), ())
    if human.claimed_by:
        users = tuple({*users, human.claimed_by})
    return ChangedHumanTask(str(human.id), users, groups, former_users, former_groups)


def _names(kind: str, name: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not name:
        return (), ()
    return ((name,), ()) if kind == "user" else ((), (name,))


def merged(changes: Iterable[ChangedInstance]) -> list[ChangedInstance]:
    """This will make one change of all changes of the same instance, in the order of their commits."""
    found: dict[uuid.UUID, ChangedInstance] = {}
    for change in changes:
        before = found.get(change.id)
        found[change.id] = change if before is None else _both(before, change)
    return sorted(found.values(), key=lambda change: change.at)


def _both(one: ChangedInstance, other: ChangedInstance) -> ChangedInstance:
    return ChangedInstance(
        id=one.id,
        at=max(one.at, other.at),
        last_sequence=max(one.last_sequence, other.last_sequence),
        tasks=tuple(dict.fromkeys(one.tasks + other.tasks)),
        human_tasks=tuple(dict.fromkeys(one.human_tasks + other.human_tasks)),
        missed=one.missed or other.missed,
        heard=one.heard or other.heard,
    )


def packed(changes: Iterable[ChangedInstance]) -> list[Any]:
    """This will give changes as lists and texts, for a channel layer to carry."""
    return [
        [
            str(change.id),
            change.at,
            change.last_sequence,
            list(change.tasks),
            [
                [human.id, list(human.users), list(human.groups), list(human.former_users), list(human.former_groups)]
                for human in change.human_tasks
            ],
            change.heard,
        ]
        for change in changes
    ]


def unpacked(message: Mapping[str, Any]) -> Iterator[ChangedInstance]:
    """This will give the changes that a channel layer has carried."""
    for instance_id, at, last_sequence, tasks, human_tasks, *heard in message["changes"]:
        yield ChangedInstance(
            id=uuid.UUID(instance_id),
            at=at,
            last_sequence=last_sequence,
            tasks=tuple(tasks),
            human_tasks=tuple(ChangedHumanTask(one, *map(tuple, names)) for one, *names in human_tasks),
            heard=any(heard),
        )
