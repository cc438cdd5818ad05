"""The example templates that lie beside this file."""

from __future__ import annotations

from pathlib import Path

from workflows.definitions import strict_json
from workflows.definitions.schema import Json

NAMES = (
    "pizza",
    "seller_loan",
    "invoice_financing",
    "order_fulfilment",
    "expense_approval",
    "employee_onboarding",
)


def template(name: str) -> Json:
    """This will read one example."""
    return strict_json.parse((Path(__file__).parent / f"{name}.json").read_bytes())
