"""The order of plugins: what each says of its neighbours, and otherwise as they came."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from workflows.definitions.problems import Problem
from workflows.definitions.schema import Json
from workflows.engine.plugins import Phase

_RANK: Mapping[str, int] = {str(phase): number for number, phase in enumerate(Phase)}


class _Edge(NamedTuple):
    """One goes before the other, as `said_by` says at `pointer`."""

    first: str
    second: str
    said_by: str
    pointer: str


def in_order(plugins: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """This will put plugins in the order in which they run.

    Phases come one after the other; inside one, what plugins say, and else the order that they are given in. Names that
    nobody bears mean nothing yet.
    """
    by_name = {said["name"]: said for said in plugins}
    place = {name: (_RANK[said["phase"]], number) for number, (name, said) in enumerate(by_name.items())}
    followers, waits = defaultdict(list), dict.fromkeys(by_name, 0)
    for first, second in {(edge.first, edge.second) for edge in _edges(plugins)}:
        followers[first].append(second)
        waits[second] += 1
    ready = [(place[name], name) for name, count in waits.items() if not count]
    heapq.heapify(ready)
    found = []
    while ready:
        _, name = heapq.heappop(ready)
        found.append(by_name[name])
        for other in followers[name]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, (place[other], other))
    return found


def faults_of_order(said: Mapping[str, Json], others: Iterable[Mapping[str, Json]]) -> Iterator[Problem]:
    """This will yield what keeps a plugin from having a place among the others: a circle, or a phase that is over."""
    plugins = [one for one in others if one["name"] != said["name"]] + [said]
    phases = {one["name"]: one["phase"] for one in plugins}
    edges = list(_edges(plugins))
    for edge in edges:
        one, other = phases[edge.first], phases[edge.second]
        if said["name"] in (edge.first, edge.second) and _RANK[one] > _RANK[other]:
            message = f"{edge.first} should go before {edge.second}, but {one} comes after {other}."
            yield Problem(edge.pointer if edge.said_by == said["name"] else "/phase", "bad_value", message)
    path = _circle(said["name"], edges)
    if path:
        pointer = next((edge.pointer for edge in edges if edge.said_by == said["name"]), "/name")
        yield Problem(pointer, "cycle", f"They would wait for each other: {' → '.join(path)}.")


def _edges(plugins: Sequence[Mapping[str, Json]]) -> Iterator[_Edge]:
    known = {said["name"] for said in plugins}
    for said in plugins:
        name = said["name"]
        for number, other in enumerate(said.get("before") or ()):
            if other in known:
                yield _Edge(name, other, name, f"/before/{number}")
        for number, other in enumerate(said.get("after") or ()):
            if other in known:
                yield _Edge(other, name, name, f"/after/{number}")


def _circle(start: str, edges: Iterable[_Edge]) -> list[str]:
    """A way from the plugin back to itself, if there is one; every new circle goes through the new plugin."""
    followers = defaultdict(list)
    for edge in edges:
        followers[edge.first].append(edge.second)
    came_from: dict[str, str] = {}
    frontier = [start]
    while frontier:
        name = frontier.pop()
        for other in followers[name]:
            if other == start:
                path = [start, name]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return list(reversed(path)) if name != start else [start, start]
            if other not in came_from:
                came_from[other] = name
                frontier.append(other)
    return []
