"""What of the examples is written in Python: an order of a web shop, a trip whose hotel answers later, a plugin."""

from __future__ import annotations

from typing import Any

from workflows.steps import (
    Chain,
    Failed,
    Retry,
    StepTask,
    Waiting,
    begin,
    conditional,
    inputstep,
    step,
    workflow,
)

HOTEL_BOOKED, HOTEL_CANCELLED = "hotel_booked", "hotel_cancelled"

State = dict[str, Any]


# --- An order: reserve, charge, ship; what was done is undone when something cannot be ---


@step("Put the article back")
def release(article: str, quantity: int) -> None:
    """Give the reservation up."""


@step("Reserve the article", compensate=release)
def reserve(article: str, quantity: int) -> State:
    """Take pieces off the shelf."""
    return {"reserved": f"{quantity} × {article}"}


@step("Refund the payment")
def refund(payment: str) -> State:
    """Pay back what was charged."""
    return {"refund": payment.replace("PAY", "REF")}


@step("Charge the card", retry=Retry(max_attempts=2, delay_seconds=5), compensate=refund)
def charge(state: State, task: StepTask) -> State | Failed:
    """Take the money; some cards are declined."""
    if state["card"] == "declined":
        return Failed("card_declined", "The bank says no.")
    return {"payment": f"PAY-{task.business_ref_no}"}


@step("Wrap it as a gift")
def wrap(state: State) -> State:
    """Wrap it."""
    return {"wrapped": True}


@step("Send the parcel")
def ship(task: StepTask, country: str) -> State | Failed:
    """Hand it over to the carrier, who does not go everywhere."""
    if country == "AQ":
        return Failed("no_carrier", "Nobody delivers to Antarctica.")
    return {"parcel": f"{country}-{task.business_ref_no}"}


@workflow(
    "Web order", component="WEB_SHOP", on_failure="rollback",
    context_schema={
        "type": "object",
        "properties": {
            "customer": {"type": "string", "title": "Customer", "minLength": 1},
            "article": {"type": "string", "title": "Article", "minLength": 1},
            "quantity": {"type": "integer", "title": "Quantity", "minimum": 1},
            "card": {"type": "string", "title": "Card", "enum": ["good", "declined"]},
            "country": {"type": "string", "title": "Country", "minLength": 2, "maxLength": 2},
            "gift": {"type": "boolean", "title": "A gift"},
        },
        "required": ["customer", "article", "quantity", "card", "country"],
    },
)  # fmt: skip
def web_order() -> Chain:
    """Reserve, charge and ship, and a gift is wrapped."""
    return begin >> reserve >> charge >> conditional(lambda state: state.get("gift", False))(wrap) >> ship


# --- A trip: the hotel answers later, in both directions ---


@step("Cancel the flight")
def cancel_flight(flight: str) -> State:
    """Give the seats back."""
    return {"flight_cancelled": flight}


@step("Book the flight", compensate=cancel_flight)
def book_flight(task: StepTask) -> State:
    """Take seats."""
    return {"flight": f"FL-{task.business_ref_no}"}


@step("Cancel the hotel", timeout=3600, retry=Retry(max_attempts=3))
def cancel_hotel(task: StepTask) -> State | Waiting:
    """Ask the hotel to cancel, and wait until it says that it has."""
    if not task.woken:
        return Waiting(HOTEL_CANCELLED, memory={"asked": task.attempt})
    return {"cancellation_fee": task.signal.get("fee", 0)}


@step("Book the hotel", timeout=24 * 3600, compensate=cancel_hotel, after_failure=True)
def book_hotel(task: StepTask) -> State | Failed | Waiting:
    """Ask for a room, and wait for the answer. Where none came, a room may have been kept all the same."""
    if not task.woken:
        return Waiting(HOTEL_BOOKED, memory={"asked": task.attempt})
    if task.signal.get("full"):
        return Failed("hotel_full", "The hotel has no room.")
    return {"hotel": task.signal["hotel"]}


@step("Send the documents")
def send_documents(traveller: str, flight: str, hotel: str) -> State:
    """Tell the traveller."""
    return {"documents": f"{traveller}: {flight}, {hotel}"}


@workflow(
    "Trip", component="TRAVEL", on_failure="rollback",
    context_schema={
        "type": "object",
        "properties": {
            "traveller": {"type": "string", "title": "Traveller", "minLength": 1},
            "city": {"type": "string", "title": "City", "minLength": 1},
            "nights": {"type": "integer", "title": "Nights", "minimum": 1},
        },
        "required": ["traveller", "city", "nights"],
    },
)  # fmt: skip
def trip() -> Chain:
    """Flight, hotel, a manager's word, documents."""
    return (
        begin
        >> book_flight
        >> book_hotel
        >> inputstep(
            "Approve the trip", assigned_to="managers", due_in_seconds=4 * 3600,
            outcomes=[{"name": "approve", "label": "Approve"}, {"name": "reject", "label": "Reject", "effect": "fail"}],
        )
        >> send_documents
    )  # fmt: skip


# --- A plugin of the activity `document-processing` ---


@step("Put the documents into the archive")
def archive(task: StepTask) -> State:
    """Give them a place on the shelf."""
    return {"shelf": f"{task.business_ref_no[-1]}-{len(task.context)}"}
