"""Search fields in the list of instances: filters of the address, and the fields that a workflow offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workflows.definitions.schema import SearchKind
from workflows.models import WorkflowTemplate
from workflows.runtime.loading import definition_of
from workflows.runtime.searching import Wanted, read_wanted

PREFIX = "search."
_MOST = 30
_WORDS = {
    "": "", "gt": "more than", "gte": "at least", "lt": "less than", "lte": "at most", "prefix": "begins with",
    "exists": "",
}  # fmt: skip
_INPUTS = {
    SearchKind.NUMBER: (("__gte", "at least"), ("__lte", "at most")),
    SearchKind.TEXT: (("", ""), ("__prefix", "begins with")),
}


@dataclass(frozen=True, slots=True)
class Input:
    """One box: the parameter that it fills, and what it asks."""

    parameter: str
    asks: str
    value: str


@dataclass(frozen=True, slots=True)
class Offered:
    """A field that can be filtered by."""

    name: str
    kind: str
    inputs: tuple[Input, ...]


def read(asked: Mapping[str, str]) -> tuple[dict[str, Wanted], list[str]]:
    """This will read the filters of an address, by their parameters, and say which make no sense."""
    found: dict[str, Wanted] = {}
    faults: list[str] = []
    for parameter in [one for one in asked if one.startswith(PREFIX)][:_MOST]:
        value = asked[parameter].strip()[:200].replace("\0", "")
        if not value:
            continue
        try:
            found[parameter] = read_wanted(parameter.removeprefix(PREFIX), value)
        except ValueError as error:
            faults.append(f"{parameter[:100]} {error}.")
    return found, faults


def label(wanted: Wanted) -> str:
    """This will name a filter."""
    return f"{wanted.name} {_WORDS[wanted.operator]}".strip()


def shown(wanted: Wanted) -> str:
    """This will show what a filter wants."""
    if wanted.operator == "exists":
        return "is there" if wanted.value == "true" else "is not there"
    return wanted.value


def offered(values: Mapping[str, str]) -> list[Offered]:
    """This will give the fields of the workflow that is filtered by, as its newest versions declare them."""
    if "workflow_name" not in values:
        return []
    chosen = {name: values[name] for name in ("workflow_name", "component_name") if name in values}
    kinds: dict[str, set[SearchKind | None]] = {}
    for template in WorkflowTemplate.objects.filter(**chosen).latest().order_by().values_list("pk", flat=True)[:20]:
        for field in definition_of(template).search:
            kinds.setdefault(field.name, set()).add(field.kind)
    return [_offered(name, said, values) for name, said in kinds.items()]


def kept_beside(wanted: Iterable[str], fields: Iterable[Offered], values: Mapping[str, str]) -> dict[str, str]:
    """This will give the filters in force that no box shows, so that another one does not lose them."""
    boxes = {box.parameter for field in fields for box in field.inputs}
    return {parameter: values[parameter] for parameter in wanted if parameter not in boxes}


def _offered(name: str, kinds: set[SearchKind | None], values: Mapping[str, str]) -> Offered:
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    boxes = (("", ""),) if kind is SearchKind.BOOLEAN else _INPUTS.get(kind or SearchKind.TEXT, ())
    inputs = tuple(
        Input(f"{PREFIX}{name}{operator}", asks, values.get(f"{PREFIX}{name}{operator}", ""))
        for operator, asks in boxes
    )
    return Offered(name, str(kind or SearchKind.TEXT), inputs)
