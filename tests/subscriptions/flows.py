"""Workflows about nodes, for the tests."""

from workflows import subscriptions
from workflows.steps import StepTask, Waiting, begin, step, workflow

broken: set[str] = set()
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "ports": {"type": "array", "items": {"type": "integer"}},
        "site": {"type": "object"},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def check(name):
    if name in broken:
        raise LookupError(f"{name} is broken")


@step("Give the node up")
def give_up(task: StepTask, subscription_id: str) -> None:
    subscriptions.change(task, subscription_id, status="terminated")


@step("Make the node", compensate=give_up)
def make(task: StepTask, name: str, customer: str = "ACME") -> dict:
    made = subscriptions.create(task, product="node", customer=customer)
    subscriptions.change(task, made.pk, values={"name": name}, status="provisioning")
    return {"subscription_id": str(made.pk)}


@step("Switch it on")
def activate(task: StepTask, subscription_id: str) -> None:
    check("activate")
    subscriptions.change(task, subscription_id, status="active")


@workflow("Create node", component="NODES", target="CREATE", products=["node"])
def create_node():
    return begin >> make >> activate


@step("Name it as before")
def rename_back(task: StepTask, subscription_id: str) -> None:
    subscriptions.put_back(task, subscription_id)


@step("Rename the node", compensate=rename_back)
def rename(task: StepTask, subscription_id: str, name: str) -> None:
    subscriptions.change(task, subscription_id, values={"name": name})
    check("rename")


@step("Tell the network")
def tell() -> None:
    check("tell")


@workflow("Modify node", component="NODES", target="MODIFY", products=["node"])
def modify_node():
    return begin >> rename >> tell


@step("End it")
def end(task: StepTask, subscription_id: str) -> None:
    check("end")
    subscriptions.change(task, subscription_id, status="terminated")


@workflow("Terminate node", component="NODES", target="TERMINATE", products=["node"])
def terminate_node():
    return begin >> end


@step("Compare with the network")
def compare() -> None:
    check("compare")


@workflow("Validate node", component="NODES", target="VALIDATE", products=["node"])
def validate_node():
    return begin >> compare


@step("Write it into the diary")
def diary() -> None:
    check("diary")


@workflow("Modify note", component="NODES", target="MODIFY", runs_out_of_sync=True)
def modify_note():
    return begin >> diary


@step("Meddle")
def meddle(task: StepTask, subscription_id: str) -> None:
    subscriptions.change(task, subscription_id, values={"name": "meddled"})


@workflow("Meddle", component="NODES", target="MODIFY", runs_out_of_sync=True)
def meddling():
    return begin >> meddle


@step("Reach the port")
def attach(task: StepTask, subscription_id: str, other: str) -> None:
    subscriptions.relate(task, parent=subscription_id, child=other)


@step("Leave the port")
def detach(task: StepTask, subscription_id: str, other: str) -> None:
    subscriptions.unrelate(task, parent=subscription_id, child=other)


@workflow("Attach", component="NODES", target="MODIFY")
def attaching():
    return begin >> attach >> tell


@workflow("Detach", component="NODES", target="MODIFY")
def detaching():
    return begin >> detach >> tell


@step("Wait for the engineer")
def wait(task: StepTask) -> Waiting | None:
    return Waiting("engineer") if task.signal is None else None


@workflow("Visit", component="NODES", target="SYSTEM")
def visit():
    return begin >> wait


ALL = (
    create_node,
    modify_node,
    terminate_node,
    validate_node,
    modify_note,
    meddling,
    attaching,
    detaching,
    visit,
)
