"""Workflows written in Python: compiled to the template that JSON would give, and published like any other.

    @workflow("Ship an order", component="SHOP")
    def ship_order():
        return begin >> reserve >> charge >> ship

The function is called once, when its module is loaded. What it gives is a stage of tasks in a line; an activity is a
stage of its own, and what follows it another. A new version is published when that has changed (`manage.py
publish_workflows`), and running instances keep theirs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.module_loading import autodiscover_modules

from workflows.conf import settings
from workflows.definitions.schema import ACTIVITY_KIND, FailurePolicy, RetryPolicy, Target
from workflows.steps.links import Activity, Chain, Input, Link, Step, chain
from workflows.steps.step import name_of, remember

STAGE = "STEPS"


@dataclass(frozen=True, slots=True)
class PythonWorkflow:
    """A workflow of a function; `name` is the dotted one, `template` what is published."""

    name: str
    title: str
    target: Target
    template: Mapping[str, Any]


_registered: dict[str, PythonWorkflow] = {}


def workflow(
    title: str,
    *,
    component: str,
    target: Target | str | None = None,
    runs_out_of_sync: bool = False,
    products: Sequence[str] = (),
    on_failure: str = FailurePolicy.HALT,
    timeout: float | None = None,
    observers: Sequence[str] = (),
    context_schema: Mapping[str, Any] | None = None,
    search: Mapping[str, str] | None = None,
) -> Callable[[Callable[[], Chain]], PythonWorkflow]:
    """This will make a workflow of a function that gives a chain, and register it under its dotted name.

    `component` and `title` are its `component_name` and `workflow_name`; `context_schema` (JSON Schema) is what a start
    must bring; `search` is what instances are found by (`{"customer": "/order/customer"}`); `observers` are names of
    guards and listeners (`workflows.steps.observers`). With a `target` the subscription that a start names is taken out
    of sync (docs/subscriptions.md); one that `runs_out_of_sync` may run beside whoever holds it; `products` are those
    that it is for. Raises TypeError where the function gives no chain.
    """

    def register(function: Callable[[], Chain]) -> PythonWorkflow:
        name = name_of(function)
        template: dict[str, Any] = {
            "workflow_name": title,
            "component_name": component,
            "on_failure": FailurePolicy(on_failure).value,
            "stages": _stages(name, chain(function())),
        }
        if timeout is not None:
            template["timeout_seconds"] = timeout
        if observers:
            template["observers"] = list(observers)
        if target is not None:
            template["target"] = Target(target).value
        if runs_out_of_sync:
            template["runs_out_of_sync"] = True
        if products:
            template["products"] = list(products)
        if context_schema is not None:
            template["context_schema"] = dict(context_schema)
        if search is not None:
            template["search"] = dict(search)
        made = _registered[name] = PythonWorkflow(name, title, Target(target or Target.SYSTEM), template)
        return made

    return register


def discover() -> Mapping[str, PythonWorkflow]:
    """This will load the `flows` modules of the installed apps and those of STEP_MODULES, and give all workflows."""
    autodiscover_modules("flows")
    for module in settings.STEP_MODULES:
        importlib.import_module(module)
    return dict(_registered)


def _stages(workflow_name: str, whole: Chain) -> list[dict[str, Any]]:
    lines: list[Activity | list[Link | Input]] = []
    for element in whole:
        if isinstance(element, Activity):
            lines.append(element)
        elif lines and isinstance(lines[-1], list):
            lines[-1].append(element)
        else:
            lines.append([element])
    taken: set[str] = set()
    named = {line.stage for line in lines if isinstance(line, Activity)}
    stages: list[dict[str, Any]] = []
    for line in lines or [[]]:
        stage: dict[str, Any] = {"stage_name": "", "stage_order": len(stages) + 1}
        if isinstance(line, Activity):
            stage |= {"stage_name": _free(line.stage, {one["stage_name"] for one in stages})}
            stage |= {"kind": ACTIVITY_KIND, "activity": line.name}
        else:
            name = _free(STAGE, {one["stage_name"] for one in stages} | named)
            stage |= {"stage_name": name, "tasks": _tasks(workflow_name, line, taken)}
        stages.append(stage)
    return stages


def _free(name: str, taken: Collection[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def _tasks(workflow_name: str, line: Sequence[Link | Input], taken: set[str]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    for element in line:
        key = _key(element.title, taken)
        task = {"task_name": key, "title": element.title, **_task(f"{workflow_name}.{key}", element)}
        if tasks:
            task["parent_task"] = [tasks[-1]["task_name"]]
        tasks.append(task)
    return tasks


def _key(title: str, taken: set[str]) -> str:
    plain = re.sub(r"\W+", "_", title.lower()).strip("_") or "step"
    plain = plain if plain.isidentifier() else f"step_{plain}"
    key = _free(plain, taken)
    taken.add(key)
    return key


def _task(name: str, element: Link | Input) -> dict[str, Any]:
    if isinstance(element, Input):
        return {"task_type": "HUMAN", **element.keys}
    step = element.step if not element.wraps else remember(_here(name, element))
    task: dict[str, Any] = {"task_type": "STEP", "step": step.name}
    if step.retry is not None:
        task["retry"] = _retry(step.retry)
    if step.timeout_seconds is not None:
        task["timeout_seconds"] = step.timeout_seconds
    if step.on_failure is not None:
        task["on_failure"] = step.on_failure.value
    if step.compensate is not None:
        task["compensate"] = {"step": step.compensate.name}
        if step.after_failure:
            task["compensate"]["after_failure"] = True
        if step.compensate.retry is not None:
            task["compensate"]["retry"] = _retry(step.compensate.retry)
        if step.compensate.timeout_seconds is not None:
            task["compensate"]["timeout_seconds"] = step.compensate.timeout_seconds
    return task


def _here(name: str, link: Link) -> Step:
    """A step with what is wrapped around it in this workflow: it has a name of its own there."""
    step = link.step
    return Step(
        step.function,
        name=name,
        title=step.title,
        perform=link.perform(),
        retry=step.retry,
        timeout_seconds=step.timeout_seconds,
        compensate=_undoing_here(f"{name}_undo", link),
        after_failure=step.after_failure,
        on_failure=step.on_failure,
    )


def _undoing_here(name: str, link: Link) -> Step | None:
    compensate, undo = link.step.compensate, link.undo()
    if compensate is None or undo is None or not link.wraps_undoing:
        return compensate
    return remember(
        Step(
            compensate.function,
            name=name,
            title=compensate.title,
            perform=undo,
            retry=compensate.retry,
            timeout_seconds=compensate.timeout_seconds,
        )
    )


def _retry(policy: RetryPolicy) -> dict[str, Any]:
    usual = asdict(RetryPolicy())
    return {key: value for key, value in asdict(policy).items() if value != usual[key]}
