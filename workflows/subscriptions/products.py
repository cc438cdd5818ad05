"""Products: what can be subscribed to, and what the values of a subscription look like."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workflows.definitions.form_schema import check_schema
from workflows.definitions.problems import Problem
from workflows.definitions.schema import Json
from workflows.models import Product
from workflows.models.locking import writing
from workflows.runtime import moments

_KEYS = frozenset({"name", "tag", "description", "values_schema", "fixed_inputs"})


class InvalidProduct(ValueError):
    """The product has faults; `problems` are all of them. Correct them and define it again."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{one.pointer or '/'}: {one.message}" for one in problems))


def define_product(
    name: str,
    *,
    values_schema: Mapping[str, Json],
    tag: str = "",
    description: str = "",
    fixed_inputs: Mapping[str, Json] | None = None,
    at: dt.datetime | None = None,
) -> Product:
    """This will make the product, or change the one of that name; raises InvalidProduct with every fault.

    Subscriptions keep their values when the schema changes; their next change has to fit the new one.
    """
    said = {
        "name": name,
        "tag": tag,
        "description": description,
        "values_schema": values_schema,
        "fixed_inputs": fixed_inputs or {},
    }
    if problems := list(problems_of(said)):
        raise InvalidProduct(problems)
    moment = at or moments.now()
    with writing():
        known = Product.objects.filter(name=name).first()
        if known is not None and all(getattr(known, key) == value for key, value in said.items()):
            return known
        product, _ = Product.objects.update_or_create(
            name=name, defaults={**said, "updated_at": moment}, create_defaults={**said, **_new(moment)}
        )
    return product


def problems_of(said: Mapping[str, Json]) -> Iterator[Problem]:
    """This will yield all that is wrong with a product as JSON says it."""
    for key in said.keys() - _KEYS:
        yield Problem(f"/{key}", "unknown_key", f"A product has no {key}.")
    for key, most in (("name", 200), ("tag", 200), ("description", 20_000)):
        value = said.get(key, "")
        if not isinstance(value, str) or len(value) > most:
            yield Problem(f"/{key}", "bad_value", f"{key} is a text of at most {most:,} characters.")
    name = said.get("name")
    if not isinstance(name, str) or not name.strip() or name != name.strip():
        yield Problem("/name", "required", "A product has a name that neither begins nor ends with a space.")
    yield from check_schema(said.get("values_schema"), pointer="/values_schema", nested=True)
    if not isinstance(said.get("fixed_inputs", {}), dict):
        yield Problem("/fixed_inputs", "wrong_type", "fixed_inputs is an object.")


def _new(at: dt.datetime) -> dict[str, Any]:
    return {"created_at": at, "updated_at": at}
