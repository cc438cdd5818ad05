"""The model is small, and stands alone."""

import ast
import pathlib

import pytest
from hypothesis import given, settings

from tests.model import conditions, model
from tests.templates import conditions as any_condition
from tests.templates import contexts
from workflows.definitions.conditions import holds


def _imported(module):
    tree = ast.parse(pathlib.Path(module.__file__).read_text())
    names = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    return {*names, *(node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))}


def test_the_model_knows_nothing_of_the_engine():
    assert _imported(model) == {"tests.model.conditions"}
    assert _imported(conditions) == {"typing"}


def test_the_model_can_be_read_in_one_sitting():
    assert len(pathlib.Path(model.__file__).read_text().splitlines()) <= 400


@settings(max_examples=300)
@given(condition=any_condition, context=contexts)
def test_conditions_come_to_the_same(condition, context):
    assert conditions.holds(condition, context) == holds(condition, context)


@pytest.mark.parametrize("value", [False, None, 0, 0.0, "", [], {}, True, 1, "0", [0], {"a": 0}])
def test_values_count_as_the_same(value):
    for condition in ({"var": "x"}, {"not": {"var": "x"}}, {"and": [{"var": "x"}]}, {"or": [{"var": "x"}, False]}):
        assert conditions.holds(condition, {"x": value}) == holds(condition, {"x": value})
