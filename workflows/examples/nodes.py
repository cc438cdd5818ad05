"""An example of what customers own: nodes of a network, ports on them, and the workflows about both.

A node is made, changed, checked and ended by workflows that take turns; a port depends on its node. Nodes stand in
Amsterdam, Berlin, Lisbon and Paris. One may be ordered for Svalbard, too, where nothing answers: see it undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from workflows import subscriptions
from workflows.models import Role, Subscription
from workflows.steps import Chain, Failed, PythonWorkflow, Retry, StepTask, begin, inputstep, step, workflow

COMPONENT = "NETWORK"
NODE, PORT = "Node", "Port"
CODES = {"Amsterdam": "AMS", "Berlin": "BER", "Lisbon": "LIS", "Paris": "PAR", "Svalbard": "LYR"}
UNREACHABLE = "Svalbard"
ENGINEERS = str(Role.OPERATOR)

State = dict[str, Any]
Fields = dict[str, dict[str, Any]]

_NAME = {
    "type": "string",
    "title": "Name",
    "description": "The code of its site and a number, such as AMS-7.",
    "minLength": 1,
    "maxLength": 40,
}
_ROLE = {"type": "string", "title": "Role", "enum": ["core", "access"]}
_SITE = {
    "type": "string",
    "title": "Site",
    "enum": list(CODES),
    "description": "Nothing answers from Svalbard: what was done is undone.",
}
_SPEED = {"type": "integer", "title": "Speed in Gbit/s", "enum": [1, 10, 100]}
_SUBSCRIPTION = {
    "subscription_id": {"type": "string", "title": "Subscription", "minLength": 1},
    "subscription_version": {"type": "integer", "title": "Version that you saw", "minimum": 1},
}

PRODUCTS: tuple[Mapping[str, Any], ...] = (
    {
        "name": NODE,
        "tag": COMPONENT,
        "description": "A router at one of our sites.",
        "values_schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "role": {"type": "string", "enum": ["core", "access"]},
                "site": {"type": "string", "enum": list(CODES)},
                "address": {"type": "string"},
                "hardware": {
                    "type": "object",
                    "properties": {"serial_number": {"type": "string"}, "rack": {"type": "string"}},
                },
            },
            "required": ["name", "role", "site"],
            "additionalProperties": False,
        },
        "fixed_inputs": {"vendor": "Example Networks", "support_hours": "24 × 7"},
    },
    {
        "name": PORT,
        "tag": COMPONENT,
        "description": "A port on a node, for one customer.",
        "values_schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "number": {"type": "integer", "minimum": 1, "maximum": 48},
                "speed": {"type": "integer", "enum": [1, 10, 100]},
            },
            "required": ["name", "number", "speed"],
            "additionalProperties": False,
        },
        "fixed_inputs": {"medium": "fibre"},
    },
)


def _asks(about: bool, fields: Fields, *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a start must bring: the fields, and before them the subscription that it is about."""
    return {
        "type": "object",
        "properties": {**(_SUBSCRIPTION if about else {}), **fields},
        "required": [*(["subscription_id"] if about else []), *(name for name in fields if name not in optional)],
    }


# --- Create: from nothing to a node that is switched on ---


@step("Give the node up")
def give_up(task: StepTask, subscription_id: str) -> None:
    """End what was begun; what it was stays to be read."""
    subscriptions.change(task, subscription_id, status="terminated")


@step("Make the subscription", compensate=give_up)
def make(task: StepTask, customer: str, name: str, role: str, site: str) -> State:
    """Write down what was ordered."""
    node = subscriptions.create(
        task, product=NODE, customer=customer, values={"name": name, "role": role, "site": site}
    )
    subscriptions.change(task, node.pk, status="provisioning")
    return {"subscription_id": str(node.pk)}


@step("Give the address back")
def free_address(task: StepTask, subscription_id: str) -> None:
    """Take the address out of the values again."""
    subscriptions.change(task, subscription_id, without=["address"])


@step("Give it an address", compensate=free_address)
def give_address(task: StepTask, subscription_id: str) -> State:
    """Pick the address under which it is managed: made from its id, so that no two have the same."""
    address = address_of(subscription_id)
    subscriptions.change(task, subscription_id, values={"address": address})
    return {"address": address}


@step("Bring the node up", retry=Retry(max_attempts=2, delay_seconds=3))
def bring_up(task: StepTask, subscription_id: str, site: str, serial_number: str, rack: str) -> Failed | None:
    """Write down what stands there, and see whether it answers."""
    if site == UNREACHABLE:
        return Failed("no_answer", f"Nothing answers from {site}.")
    subscriptions.change(task, subscription_id, values={"hardware": {"serial_number": serial_number, "rack": rack}})
    return None


@step("Switch it on")
def switch_on(task: StepTask, subscription_id: str) -> None:
    """From now on the customer has it."""
    subscriptions.change(task, subscription_id, status="active")


@workflow(
    "Create node", component=COMPONENT, target="CREATE", products=[NODE], on_failure="rollback",
    context_schema=_asks(False, {
        "customer": {"type": "string", "title": "Customer", "minLength": 1},
        "name": _NAME, "role": _ROLE, "site": _SITE,
    }),
)  # fmt: skip
def create_node() -> Chain:
    """Make it, give it an address, have it racked, bring it up."""
    return (
        begin
        >> make
        >> give_address
        >> inputstep(
            "Rack the node", assigned_to=ENGINEERS, due_in_seconds=8 * 3600,
            description="Put it into its rack, connect the power, and copy what its label says.",
            form={
                "type": "object",
                "properties": {
                    "serial_number": {"type": "string", "title": "Serial number", "minLength": 1, "maxLength": 40},
                    "rack": {"type": "string", "title": "Rack and unit", "minLength": 1, "maxLength": 40},
                },
                "required": ["serial_number", "rack"],
            },
        )
        >> bring_up
        >> switch_on
    )  # fmt: skip


# --- Modify: one at a time, and back again where it fails ---


@step("Put the old values back")
def put_back(task: StepTask, subscription_id: str) -> None:
    """Take the values from before this workflow."""
    subscriptions.put_back(task, subscription_id)


@step("Write the new values", compensate=put_back)
def write_values(task: StepTask, subscription_id: str, name: str, role: str, site: str) -> None:
    """Change what the customer asked to have changed."""
    subscriptions.change(task, subscription_id, values={"name": name, "role": role, "site": site})


@step("Look whether it answers")
def look(site: str) -> Failed | None:
    """Where it does not, the change is undone."""
    return Failed("no_answer", f"Nothing answers from {site}.") if site == UNREACHABLE else None


@workflow(
    "Modify node", component=COMPONENT, target="MODIFY", products=[NODE], on_failure="rollback",
    context_schema=_asks(True, {"name": _NAME, "role": _ROLE, "site": _SITE}),
)  # fmt: skip
def modify_node() -> Chain:
    """Ask when it may begin, write, look. From its start to its end nobody else changes the node."""
    return (
        begin
        >> inputstep(
            "Say that the change may begin", assigned_to=ENGINEERS, due_in_seconds=4 * 3600,
            description="Look whether anybody works on the node just now.",
            outcomes=[{"name": "go", "label": "It may begin"}, {"name": "no", "label": "Not now", "effect": "fail"}],
        )
        >> write_values
        >> look
    )  # fmt: skip


@step("Switch it the other way")
def toggle(task: StepTask, subscription_id: str) -> State:
    """Switch off what is on, and on what is off."""
    status = "disabled" if Subscription.objects.get(pk=subscription_id).status == "active" else "active"
    subscriptions.change(task, subscription_id, status=status)
    return {"status": status}


@workflow(
    "Switch node off or on", component=COMPONENT, target="MODIFY", products=[NODE], context_schema=_asks(True, {})
)
def switch_node() -> Chain:
    """One step: a node that is active is disabled, any other active again."""
    return begin >> toggle


# --- Ports: made while their node is held, so that nobody ends it meanwhile ---


@step("Give the port up")
def give_port_up(task: StepTask, port_id: str) -> None:
    """End it, and let its node go."""
    subscriptions.unrelate(task, parent=port_id, child=task.context["subscription_id"])
    subscriptions.change(task, port_id, status="terminated")


@step("Make the port", compensate=give_port_up)
def make_port(task: StepTask, subscription_id: str, customer: str, number: int, speed: int) -> State:
    """Write the port down as one that depends on the node."""
    node = Subscription.objects.get(pk=subscription_id)
    values = {"name": f"{node.values['name']}/{number}", "number": number, "speed": speed}
    port = subscriptions.create(task, product=PORT, customer=customer, values=values)
    subscriptions.change(task, port.pk, status="provisioning")
    subscriptions.relate(task, parent=port.pk, child=subscription_id)
    return {"port_id": str(port.pk)}


@step("Light the port")
def light(task: StepTask, port_id: str) -> None:
    """Switch it on."""
    subscriptions.change(task, port_id, status="active")


@workflow(
    "Add port", component=COMPONENT, target="MODIFY", products=[NODE], on_failure="rollback",
    context_schema=_asks(True, {
        "customer": {"type": "string", "title": "Customer", "minLength": 1},
        "number": {"type": "integer", "title": "Number of the port", "minimum": 1, "maximum": 48},
        "speed": _SPEED,
    }),
)  # fmt: skip
def add_port() -> Chain:
    """Make a port on a node; both are held until it is lit."""
    return begin >> make_port >> light


@step("Write the new speed", compensate=put_back)
def write_speed(task: StepTask, subscription_id: str, speed: int) -> None:
    """Change how fast it is."""
    subscriptions.change(task, subscription_id, values={"speed": speed})


@workflow(
    "Modify port", component=COMPONENT, target="MODIFY", products=[PORT], on_failure="rollback",
    context_schema=_asks(True, {"speed": _SPEED}),
)  # fmt: skip
def modify_port() -> Chain:
    """Change its speed; its node is not to be touched meanwhile."""
    return begin >> write_speed


# --- Terminate: the end of a subscription, refused while others depend on it ---


@step("Take it off the network")
def take_off(subscription_id: str) -> State:
    """Tell the network that it is gone."""
    return {"taken_off": True}


@step("End the subscription")
def end(task: StepTask, subscription_id: str) -> None:
    """The customer has it no more; its versions stay."""
    subscriptions.change(task, subscription_id, status="terminated")


_WHY = {"why": {"type": "string", "title": "Why it ends", "maxLength": 400}}


@workflow(
    "Terminate node", component=COMPONENT, target="TERMINATE", products=[NODE],
    context_schema=_asks(True, _WHY, optional=("why",)),
)  # fmt: skip
def terminate_node() -> Chain:
    """Take it off the network and end it. Refused while ports depend on it."""
    return begin >> take_off >> end


@workflow(
    "Terminate port", component=COMPONENT, target="TERMINATE", products=[PORT],
    context_schema=_asks(True, _WHY, optional=("why",)),
)  # fmt: skip
def terminate_port() -> Chain:
    """Take it off the network and end it."""
    return begin >> take_off >> end


# --- Validate: look, change nothing, and keep out of sync what is not as it should be ---


@step("Compare with the network")
def compare(subscription_id: str) -> State | Failed:
    """Say every place that is not as the network has it."""
    node = Subscription.objects.get(pk=subscription_id)
    if wrong := faults_of(node):
        return Failed("differs", " ".join(wrong.values()), details=wrong)
    return {"checked_version": node.version}


@workflow("Validate node", component=COMPONENT, target="VALIDATE", products=[NODE], context_schema=_asks(True, {}))
def validate_node() -> Chain:
    """Compare what we say of the node with what the network says. What differs keeps it out of sync."""
    return begin >> compare


def faults_of(node: Subscription) -> dict[str, str]:
    """This will compare a node with the (simulated) network: JSON pointers, each with what is wrong there."""
    said, found = node.values, {}
    code = CODES[said["site"]]
    if not said["name"].startswith(f"{code}-"):
        found["/name"] = f"{said['name']} stands in {said['site']}, where names begin with {code}-."
    if said.get("address") != address_of(str(node.pk)):
        found["/address"] = f"The network knows it as {address_of(str(node.pk))}."
    if "hardware" not in said:
        found["/hardware"] = "Nobody has written down what stands there."
    return found


def address_of(subscription_id: str) -> str:
    """This will give the address that belongs to a node."""
    one, two, three = hashlib.sha256(subscription_id.encode()).digest()[:3]
    return f"10.{one}.{two}.{three}"


WORKFLOWS: Mapping[str, PythonWorkflow] = {
    one.title: one
    for one in (
        create_node, modify_node, switch_node, add_port, modify_port, terminate_node, terminate_port, validate_node,
    )
}  # fmt: skip
"""By their names, in the order in which somebody new looks at them."""
