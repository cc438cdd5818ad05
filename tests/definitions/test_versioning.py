"""Equal content has one fingerprint."""

import json

from hypothesis import given

from tests.templates import json_values, templates
from workflows.definitions.conditions import equal
from workflows.definitions.versioning import fingerprint


@given(templates())
def test_the_order_of_keys_and_the_writing_of_numbers_do_not_matter(template):
    turned = json.loads(json.dumps(template), object_pairs_hook=lambda pairs: dict(reversed(pairs)), parse_int=float)

    assert fingerprint(turned) == fingerprint(template)


@given(json_values, json_values)
def test_equal_values_and_only_those_have_the_same_fingerprint(one, other):
    assert (fingerprint(one) == fingerprint(other)) is equal(one, other)


def test_the_order_of_a_list_matters():
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert len(fingerprint({})) == 64
