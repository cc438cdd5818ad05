"""Workflows in Python, for the tests."""

from django.contrib.auth.models import Group
from django.db import connection, transaction

from workflows.steps import (
    Failed,
    Retry,
    Seen,
    Skipped,
    StepTask,
    TurnRound,
    Waiting,
    begin,
    callbackstep,
    conditional,
    focus,
    group,
    guard,
    inputstep,
    listener,
    retrystep,
    step,
    workflow,
)

calls: list[str] = []
broken: set[str] = set()


def note(name):
    calls.append(name)
    Group.objects.create(name=f"{name} {len(calls)}")
    if name in broken:
        raise LookupError(f"{name} is broken")


@step("Release the stock")
def release(state: dict, task: StepTask) -> dict:
    note("release")
    return {"released": task.output["reserved"]}


@step("Reserve stock", retry=Retry(max_attempts=2), timeout=30, compensate=release)
def reserve(state: dict) -> dict:
    note("reserve")
    return {"reserved": state["amount"]}


@step("Pay back")
def refund(amount: int) -> None:
    note("refund")


@step("Charge", compensate=refund)
def charge(amount: int, currency: str = "EUR") -> dict:
    note("charge")
    return {"charged": f"{amount} {currency}"}


@step("Call the customer")
def call(state: dict) -> dict:
    note("call")
    return {"vip": False}


@step("Send a gift")
def gift() -> None:
    note("gift")


@step("Ship")
def ship(state: dict) -> dict:
    note("ship")
    state["address"]["city"] = "changed in a copy"
    return {"shipped": True}


@workflow("Order", component="FLOWS", target="CREATE", on_failure="rollback")
def order():
    return (
        begin
        >> reserve
        >> inputstep("Check the address", assigned_to="backoffice", form={
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
        >> conditional(lambda state: state["vip"])(call >> gift)
        >> charge
        >> ship
    )  # fmt: skip


@step("Look inside")
def inside(state: dict) -> dict:
    return {"seen": sorted(state), "count": state.get("count", 0) + 1}


@workflow("Focused", component="FLOWS")
def focused():
    return begin >> focus("box")(inside >> inside)


@step("Ask a fellow")
def ask(task: StepTask):
    if task.signal is None:
        note("ask")
        return Waiting("answer")
    return {"said": task.signal}


@step("Nothing today")
def nothing():
    note("nothing")
    return Skipped("It is Sunday.")


@step("Give up")
def give_up():
    note("give up")
    return Failed("no_luck", "Not today.")


together = group("Both at once", reserve >> charge, name="tests.steps.flows.together")


@workflow("Grouped", component="FLOWS", on_failure="rollback")
def grouped():
    return begin >> together >> nothing >> give_up


@retrystep("Try again", every=60)
def again():
    note("again")


@workflow("Patient", component="FLOWS")
def patient():
    return begin >> again


@step("Commit")
def commits():
    note("commit")
    transaction.commit()


@step("Commit by hand")
def commits_by_hand():
    note("commit by hand")
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")


@step("Durable")
def durable():
    note("durable")
    with transaction.atomic(durable=True):
        note("inside")


@step("Roll back and go on")
def rolls_back():
    note("rolled back")
    transaction.set_rollback(True)


@step("Part of it fails")
def part():
    note("kept")
    try:
        with transaction.atomic():
            note("undone")
            raise KeyError
    except KeyError:
        return {"part": True}


@step("Answers a set")
def answers_a_set():
    return {"a": {"b": [1, {2}]}}


@step("Answers much")
def answers_much():
    return {"much": "x" * 300_000}


@step("Wants a key")
def wants(nowhere):
    return None


addresses: list[str] = []


def is_up(provisioned: dict) -> dict:
    if provisioned["rc"]:
        raise ValueError(f"rc {provisioned['rc']}")
    return {"port": provisioned["port"]}


@callbackstep("Provision the port", result_key="provisioned", validate=is_up, timeout=600, retry=Retry(max_attempts=2))
def provision(state: dict, callback_url: str) -> dict:
    addresses.append(callback_url)
    note("provision")
    return {"asked": True}


@step("Cancel the hotel")
def cancel_hotel(task: StepTask):
    if not task.woken:
        note("cancel hotel")
        return Waiting("hotel_cancelled", memory={"possible": task.possible})
    note("hotel cancelled")
    return {"fee": task.signal["fee"]}


@step("Book the hotel", compensate=cancel_hotel, after_failure=True, timeout=60)
def book_hotel(task: StepTask):
    if not task.woken:
        note("book hotel")
        return Waiting("hotel_booked")
    return {"hotel": task.signal["name"]}


@step("Cancel the flight")
def cancel_flight():
    note("cancel flight")


@step("Book the flight", compensate=cancel_flight)
def book_flight():
    note("book flight")


@workflow("Trip", component="FLOWS", on_failure="rollback")
def trip():
    return begin >> book_flight >> book_hotel >> ship


@workflow("Charge and ship", component="FLOWS", on_failure="rollback")
def charge_and_ship():
    return begin >> charge >> ship


seen: list[str] = []


@guard("tests.budget")
def budget(look: Seen):
    seen.append(f"budget {'before' if look.before else 'after'} {look.task.task_name}{' down' if look.down else ''}")
    said = look.task.context["guard"].get(seen[-1].removeprefix("budget "))
    match said:
        case "turn":
            return TurnRound("That is over the budget.")
        case "nonsense":
            return 42
        case "raise":
            raise LookupError("no budget")
    return said


@listener("tests.ear")
def ear(look: Seen):
    if not look.before:
        seen.append(f"ear {look.task.task_name} {type(look.outcome).__name__}")
    raise RuntimeError("deaf")


@workflow("Watched", component="FLOWS", observers=["tests.ear", "tests.budget"])
def watched():
    return begin >> book_flight >> charge
