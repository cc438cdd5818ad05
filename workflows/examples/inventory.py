"""What customers own when somebody first looks at the demo: nodes and ports in every status, made by workflows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from workflows.engine.commands import DecideTask, StartWorkflow
from workflows.engine.lifecycle import TaskState
from workflows.examples import nodes
from workflows.examples.traffic import OPERATOR
from workflows.models import HumanTask, TaskInstance, WorkflowInstance
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.projection import STEP_QUEUE
from workflows.steps.runner import StepRunner
from workflows.subscriptions import define_product

_NODES = (
    # Its name, its site, its role, whose it is.
    ("AMS-1", "Amsterdam", "core", "Alpine Optics"),
    ("BER-1", "Berlin", "core", "Alpine Optics"),
    ("BER-2", "Berlin", "access", "Bluebird Foods"),
    ("LIS-1", "Lisbon", "access", "Fjord Seafood"),
    ("PAR-1", "Paris", "access", "Cobalt Tools"),
    # Misnamed, as the validation finds.
    ("AMS-9", "Paris", "access", "Delta Textiles"),
)
_LAST = "NEW-PAR-2"
_PORTS = (("AMS-1", 1, 100, "Alpine Optics"), ("AMS-1", 2, 10, "Delta Textiles"), ("BER-1", 7, 10, "Cobalt Tools"))


def define_products() -> None:
    """This will define the products of the examples, or bring them up to date."""
    for product in nodes.PRODUCTS:
        define_product(**product)


def fill(*, stopping: Callable[[], bool] = lambda: False) -> None:
    """This will have it all made, once; what an earlier start did not finish is gone on with."""
    site = _Site(stopping)
    if WorkflowInstance.objects.filter(component_name=nodes.COMPONENT, business_ref_no=_LAST).exists():
        return
    made = {name: site.node(name, place, role, customer) for name, place, role, customer in _NODES}
    for name, number, speed, customer in _PORTS:
        about = {"customer": customer, "number": number, "speed": speed}
        site.run("Add port", f"ADD-{name}-{number}", made[name], **about)
    site.run("Switch node off or on", "OFF-LIS-1", made["LIS-1"])
    site.run("Terminate node", "END-BER-2", made["BER-2"], why="Moved to another provider.")
    site.run("Validate node", "CHECK-AMS-9", made["AMS-9"])
    site.run("Create node", "NEW-LYR-1", customer="Cobalt Tools", name="LYR-1", role="access", site="Svalbard")
    # Two that wait for visitors: a change that may begin, and a node to be racked.
    site.start("Modify node", "CHANGE-PAR-1", made["PAR-1"], name="PAR-1", role="core", site="Paris")
    site.start("Create node", _LAST, customer="Fjord Seafood", name="PAR-2", role="access", site="Paris")


class _Site:
    """Starts workflows, and does what its engineers would do."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._runner = StepRunner(now=timezone.now, name="inventory")

    def node(self, name: str, site: str, role: str, customer: str) -> str:
        """This will make a node, and give the id of its subscription."""
        done = self.run("Create node", f"NEW-{name}", customer=customer, name=name, role=role, site=site)
        return str(done.context["subscription_id"]) if done else ""

    def run(self, title: str, reference: str, about: str = "", **context: Any) -> WorkflowInstance | None:
        """This will start a workflow, and do what people have to do in it."""
        instance = self.start(title, reference, about, **context)
        if instance is not None:
            for task in HumanTask.objects.open().filter(instance=instance):
                self._rack(task)
            self._go_on(instance)
        return instance

    def start(self, title: str, reference: str, about: str = "", **context: Any) -> WorkflowInstance | None:
        """This will start a workflow, and run its steps as far as they go; None where it may not start."""
        if self._stopping():
            return None
        named = {"subscription_id": about} if about else {}
        asked = Asked(
            StartWorkflow(reference, context={**named, **context}),
            Reference(nodes.COMPONENT, reference, title),
            actor=OPERATOR,
        )
        (answer,) = handle(asked, at=timezone.now())
        if answer.instance is None:
            return None
        instance = WorkflowInstance.objects.get(pk=answer.instance.id)
        self._go_on(instance)
        return instance

    @staticmethod
    def _rack(task: HumanTask) -> None:
        label = f"{task.instance.context['name']}-{task.pk.hex[-6:].upper()}"
        command = DecideTask(
            stage_name=task.stage_name,
            task_name=task.task_name,
            attempt=task.attempt,
            by=OPERATOR,
            groups=frozenset({nodes.ENGINEERS}),
            data={"serial_number": f"EN-{label}", "rack": "R4, unit 17"},
        )
        handle(Asked(command, target=task.instance_id, actor=OPERATOR), at=timezone.now())

    def _go_on(self, instance: WorkflowInstance) -> None:
        """Run its steps. Workers of other processes may be quicker, or have one of them in hand just now."""
        offered = TaskInstance.objects.filter(
            instance=instance,
            queue=STEP_QUEUE,
            state__in=[TaskState.SCHEDULED, TaskState.STARTED, TaskState.COMPENSATING],
        )
        while offered.exists() and not self._stopping():
            time.sleep(self._runner.run_due() or 0)
        instance.refresh_from_db()
