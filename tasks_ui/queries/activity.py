"""How the stage of an activity is drawn and listed: its three phases, and who takes part in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks_ui.graph import Node
from tasks_ui.queries.instance import Stage
from tasks_ui.words import PHASE_TITLES, PHASE_WAYS, Sign, phase_sign, plugin_sign, readable
from workflows.definitions.schema import Phase
from workflows.runtime.phases import PhaseState, PluginState, ShownPhase, ShownPlugin

MOST_ROWS = 50
"""Of a phase; the others are found among the tasks."""

_NOT_YET = Sign("pending", "pending", "Not yet")
_NOBODY = Sign("skipped", "skipped", "Nobody")


@dataclass(frozen=True, slots=True)
class Row:
    """A plugin as a line of a table; `node` is its task's, empty where it was kept out."""

    plugin: ShownPlugin
    title: str
    sign: Sign
    node: str


def rows_of(phase: ShownPhase) -> list[Row]:
    """This will list who takes part, and then who was kept out."""
    return [
        Row(
            plugin=one, title=(one.task.title if one.task else None) or readable(one.name),
            sign=plugin_sign(one.state, optional=not one.mandatory), node=one.task.key if one.task else "",
        )
        for one in phase.plugins
    ]  # fmt: skip


def nodes_of(stage: int, phases: Sequence[ShownPhase], nodes: Mapping[int, Node], *, href: str = "") -> Iterator[Node]:
    """This will give the nodes of an activity, each phase behind the one before; an empty one is a node by itself.

    `nodes` are those of the plugins' tasks, by their positions.
    """
    before: tuple[int, ...] = ()
    for number, phase in enumerate(phases):
        inside = [nodes[one.task.position] for one in phase.plugins if one.task and one.task.position in nodes]
        if not inside:
            inside = [_nobody(-1 - stage * len(phases) - number, phase, href)]
        parents = {parent for node in inside for parent in node.parents}
        for node in inside:
            yield replace(node, parents=node.parents or before, group=PHASE_TITLES[phase.phase])
        before = tuple(node.position for node in inside if node.position not in parents)


def _nobody(position: int, phase: ShownPhase, href: str) -> Node:
    begun = phase.state is not PhaseState.NOT_STARTED
    fact = f"{len(phase.plugins)} not applicable" if phase.plugins else "nobody registered" if begun else ""
    return Node(
        position=position, name="", title="Nobody" if begun else "Plugins", kind_icon="service",
        sign=_NOBODY if begun else _NOT_YET, fact=fact or PHASE_WAYS[phase.phase], href=href, done=begun,
    )  # fmt: skip


def not_begun() -> tuple[ShownPhase, ...]:
    """This will give the phases as a template knows them: nobody has been asked."""
    return tuple(ShownPhase(phase, PhaseState.NOT_STARTED) for phase in Phase)


def listed(stages: Iterable[Stage]) -> list[dict[str, Any]]:
    """This will list the activities that have begun, each with its phases and the first of their plugins."""
    return [
        {"stage": stage, "warning": _warning(stage), "phases": [_listed(phase) for phase in stage.phases]}
        for stage in stages
        if any(phase.state is not PhaseState.NOT_STARTED for phase in stage.phases)
    ]


def _listed(phase: ShownPhase) -> dict[str, Any]:
    rows = rows_of(phase)
    begun = phase.state is not PhaseState.NOT_STARTED
    return {
        "phase": phase,
        "title": PHASE_TITLES[phase.phase],
        "way": PHASE_WAYS[phase.phase],
        "sign": phase_sign(phase.state, warning=phase.warning),
        "rows": rows[:MOST_ROWS],
        "hidden": max(0, len(rows) - MOST_ROWS),
        "nobody": "Nobody took part." if begun else "Who takes part is asked when it begins.",
    }


def _warning(stage: Stage) -> Sign | None:
    failed = sum(
        one.state is PluginState.ERROR and not one.mandatory for phase in stage.phases for one in phase.plugins
    )
    if not failed:
        return None
    return Sign("retrying", "info", f"{failed} optional error" + ("" if failed == 1 else "s"))
