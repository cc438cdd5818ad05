"""What customers own: products, subscriptions that workflows change one at a time, every version of their values."""

from workflows.subscriptions.changing import (
    IllegalMove,
    InvalidValues,
    NotTheHolder,
    UnknownProduct,
    UnknownSubscription,
    change,
    create,
    put_back,
    relate,
    unrelate,
)
from workflows.subscriptions.checking import check_subscription
from workflows.subscriptions.differences import Difference, differences, versions_apart
from workflows.subscriptions.operating import note, unlock
from workflows.subscriptions.products import InvalidProduct, define_product
from workflows.subscriptions.startable import Startable, startable

__all__ = [
    "Difference",
    "IllegalMove",
    "InvalidProduct",
    "InvalidValues",
    "NotTheHolder",
    "Startable",
    "UnknownProduct",
    "UnknownSubscription",
    "change",
    "check_subscription",
    "create",
    "define_product",
    "differences",
    "note",
    "put_back",
    "relate",
    "startable",
    "unlock",
    "unrelate",
    "versions_apart",
]
