"""Who takes part in a phase of an activity: what is registered when it begins, and what the filters say.

Note [What is registered now]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A phase sees every registration that was committed before it began: the activity's row is read in the transaction that
decides, behind the lock of the instance. What follows from the plugins (their order, their tasks, the index of their
filters) is kept for as long as the row's stamp is the same, so that a thousand of them cost one short read.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.db import connection
from django.db.models import FilteredRelation, Q

from workflows.activities import plugin
from workflows.activities.filter_index import FilterIndex
from workflows.activities.filters import Attributes, Policy, compile_policy
from workflows.activities.ordering import in_order
from workflows.definitions.schema import Json
from workflows.engine.plugins import ExcludedPlugin, Expected, ExpectedPlugin, Phase
from workflows.models import Activity

_KEPT = 200
"""Of so many activities what follows from their plugins is kept."""
_STAMP = "SELECT stamp FROM workflows_activity WHERE name = %s"
_EVERYBODY = Policy()


class _Kept(NamedTuple):
    """What follows from the plugins of one phase, in their order."""

    expected: Sequence[ExpectedPlugin]
    excluded: Sequence[ExcludedPlugin]
    filters: FilterIndex[int]

    def judge(self, attributes: Attributes) -> Expected:
        matching = self.filters.matching(attributes)
        if len(matching) == len(self.expected):
            return Expected(tuple(self.expected))
        inside = set(matching)
        out = tuple(one for number, one in enumerate(self.excluded) if number not in inside)
        return Expected(tuple(self.expected[number] for number in matching), out)


class _Registry:
    """What this process has read of each activity."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[uuid.UUID, Mapping[str, _Kept]]] = {}

    def phases(self, name: str, stamp: object) -> Mapping[str, _Kept]:
        """This will give what follows from the plugins; `stamp` as the database tells it, which differs."""
        known = self._known.get(name)
        if known is not None and stamp in (known[0], known[0].hex):
            return known[1]
        now, rows = read(name)
        phases = _phases(name, rows)
        with self._lock:
            self._known.pop(name, None)
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[name] = now, phases
        return phases


_registry = _Registry()


def expected_plugins(activity: str, phase: Phase, attributes: Attributes) -> Expected:
    """This will say who takes part in a phase that begins now. See Note [What is registered now]."""
    with connection.cursor() as cursor:
        cursor.execute(_STAMP, [activity])
        row = cursor.fetchone()
    if row is None:
        return Expected()
    kept = _registry.phases(activity, row[0]).get(phase)
    return Expected() if kept is None else kept.judge(attributes)


def read(activity: str) -> tuple[uuid.UUID, list[Mapping[str, Json]]]:
    """This will read what is registered, with the stamp under which it is: of one moment, as it is one statement."""
    live = FilteredRelation("plugins", condition=Q(plugins__deregistered_at=None))
    rows = Activity.objects.filter(name=activity).annotate(live=live)
    found = list(rows.order_by("live__registered_at", "live__pk").values_list("stamp", "live__said"))
    return (found[0][0] if found else uuid.uuid4()), [said for _, said in found if said is not None]


def _phases(activity: str, rows: Sequence[Mapping[str, Json]]) -> Mapping[str, _Kept]:
    ordered = in_order(rows)
    phases = {}
    for phase in Phase:
        some = [said for said in ordered if said["phase"] == phase]
        if some:
            phases[str(phase)] = _Kept(
                [plugin.expected(activity, said) for said in some],
                [plugin.excluded(said) for said in some],
                FilterIndex(
                    (number, _EVERYBODY if said["filter"] is None else compile_policy(said["filter"]))
                    for number, said in enumerate(some)
                ),
            )
    return phases
