"""Nodes, and workflows about them; every history is folded when a test is over."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.subscriptions import flows
from workflows.engine import commands as c
from workflows.models import LoggedEvent, Subscription, WorkflowInstance
from workflows.runtime.asking import Answer, Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.loading import snapshots
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history
from workflows.steps.runner import StepRunner
from workflows.subscriptions import check_subscription, define_product

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Nodes:
    """A site with the product `node` and workflows about it."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        define_product("node", values_schema=flows.SCHEMA, tag="NET", fixed_inputs={"speed": "10G"}, at=AT)
        for one in flows.ALL:
            publish_template(dict(one.template), by="tests", at=AT)

    def asked(self, title: str, ref: str = "", actor: str = "olivia", **context: Any) -> Asked:
        """Make the question that starts a workflow."""
        ref = ref or f"R-{next(self.numbers)}"
        return Asked(c.StartWorkflow(ref, context=context), Reference("NODES", ref, title), actor=actor)

    def start(self, title: str, key: Any = None, **context: Any) -> Answer:
        """Start a workflow, about the subscription if one is given, and run no step."""
        named = {} if key is None else {"subscription_id": str(key)}
        return handle(self.asked(title, **named, **context), at=AT)[0]

    def run(self, title: str, key: Any = None, **context: Any) -> WorkflowInstance:
        """Start a workflow and run its steps."""
        answer = self.start(title, key, **context)
        assert answer.applied, answer
        self.go_on()
        return self.instance(answer)

    def go_on(self) -> None:
        """Run all steps whose turn has come."""
        runner = StepRunner(now=lambda: AT)
        before = -1
        while before != (before := LoggedEvent.objects.count()):
            runner.run_due()

    def ask(self, instance: WorkflowInstance, command: Any, **how: Any) -> Answer:
        """Ask something of an instance, and run its steps."""
        answer = handle(Asked(command, target=instance.pk, actor="olivia", **how), at=AT)[0]
        self.go_on()
        return answer

    def instance(self, answer: Answer) -> WorkflowInstance:
        """Give the instance of an answer."""
        assert answer.instance is not None
        return WorkflowInstance.objects.get(pk=answer.instance.id)

    def make(self, name: str = "Amsterdam") -> Subscription:
        """Make an active node."""
        instance = self.run("Create node", name=name)
        assert instance.state == "COMPLETED", instance.state
        return self.node(instance.context["subscription_id"])

    def node(self, key: Any) -> Subscription:
        """Read a node again."""
        return Subscription.objects.get(pk=uuid.UUID(str(key)))

    def check(self) -> None:
        """Fold every history."""
        snapshots.forget()
        for instance in WorkflowInstance.objects.all():
            assert check_history(instance) == []
        for subscription in Subscription.objects.all():
            assert check_subscription(subscription) == []


@pytest.fixture
def nodes(db: None) -> Iterator[Nodes]:
    flows.broken.clear()
    snapshots.forget()
    site = Nodes()
    yield site
    site.check()
    flows.broken.clear()
