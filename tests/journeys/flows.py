"""Workflows in Python, for journeys."""

import threading
import time

from django.contrib.auth.models import Group
from django.db import transaction

from workflows.steps import StepTask, begin, callbackstep, group, inputstep, retrystep, step, workflow

broken: set[str] = set()
addresses: list[str] = []
ran: list[str] = []
begun, may_end = threading.Event(), threading.Event()


def note(name: str) -> None:
    ran.append(name)
    Group.objects.create(name=f"{name} {len(ran)}")
    if name in broken:
        raise ConnectionError(f"{name} is away")


@step("Cancel the line")
def cancel_line():
    note("cancel line")


@step("Reserve a line", compensate=cancel_line)
def reserve_line(state: dict) -> dict:
    note("line")
    return {"line": {"vlan": 7}}


@step("Give the port back")
def give_back():
    note("give back")


def is_up(port: dict) -> dict:
    if port["rc"]:
        raise ValueError(f"rc {port['rc']}")
    return {"port_name": port["name"]}


@callbackstep("Provision the port", result_key="port", validate=is_up, compensate=give_back)
def provision(callback_url: str) -> dict:
    note("port")
    addresses.append(callback_url)
    return {}


@retrystep("Tell the customer", every=60)
def tell():
    note("tell")


@workflow("Deliver a line", component="JOURNEYS", context_schema={
    "type": "object",
    "properties": {"customer": {"type": "string"}, "line": {"type": "object"}},
    "required": ["customer"],
})  # fmt: skip
def deliver():
    form = {"type": "object", "properties": {"floor": {"type": "integer", "minimum": 0}}, "required": ["floor"]}
    return begin >> reserve_line >> inputstep("Which floor", assigned_to="finance", form=form) >> provision >> tell


@step("Long work")
def long():
    begun.set()
    assert may_end.wait(30)
    note("long")


@step("What follows")
def follows():
    note("follows")


@workflow("Long", component="JOURNEYS")
def long_line():
    return begin >> long >> follows


@step("Check")
def check(task: StepTask):
    note("check")


@workflow("Grouped", component="JOURNEYS")
def grouped():
    return begin >> group("Both", reserve_line >> check, name="tests.journeys.flows.both")


@step("Slow, alone")
def slow(state: dict):
    with transaction.atomic():
        time.sleep(0.01)
        note("slow")


@workflow("Alone", component="JOURNEYS")
def alone():
    return begin >> slow
