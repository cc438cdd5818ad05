"""The example templates: those that lie beside this file, and those that are written in Python."""

from __future__ import annotations

from pathlib import Path

from workflows.definitions import strict_json
from workflows.definitions.schema import Json
from workflows.examples import flows, nodes
from workflows.flows import validate_all

NAMES = (
    "pizza",
    "seller_loan",
    "invoice_financing",
    "order_fulfilment",
    "expense_approval",
    "employee_onboarding",
    "claim_intake",
)
FLOWS = {"web_order": flows.web_order, "trip": flows.trip}
OWNED = {**nodes.WORKFLOWS, validate_all.title: validate_all}
"""Those about subscriptions: started on what is there, so that no traffic starts them."""


def template(name: str) -> Json:
    """This will read one example."""
    written = FLOWS.get(name) or OWNED.get(name)
    if written is not None:
        return dict(written.template)
    return strict_json.parse((Path(__file__).parent / f"{name}.json").read_bytes())
