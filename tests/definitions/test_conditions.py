"""`when`: what each operator gives, what publishing refuses, and how a condition reads aloud."""

import json

import pytest
from hypothesis import given

from tests.templates import conditions, contexts, json_values
from workflows.definitions.conditions import check_condition, describe, equal, evaluate, holds

CONTEXT = {
    "order": {"country": "IT", "amount": 1200, "lines": [{"item": "pizza"}, "cola", None], "0": "zero"},
    "nothing": None,
    "no": False,
    "empty": {},
    "a.b": "unreachable",
}


def var(path, *default):
    return {"var": [path, *default] if default else path}


@pytest.mark.parametrize(
    ("node", "value"),
    [
        (var("order.country"), "IT"),
        (var("order.lines.0.item"), "pizza"),
        (var("order.lines.1"), "cola"),
        (var("order.0"), "zero"),
        (var("order.lines.9"), None),
        (var("order.lines.-1"), None),
        (var("order.lines.٠"), None),
        (var("order.lines." + "9" * 900), None),
        (var("order.lines.x"), None),
        (var("order.country.0"), None),
        (var("order.nobody.home"), None),
        (var("a.b"), None),
        (var("order.__class__"), None),
        (var("order.vat", 22), 22),
        (var("nothing", 22), None),
        (var("order.vat", var("order.amount")), 1200),
        ({"var": ["order.country"]}, "IT"),
        ({"missing": ["order.country"]}, False),
        ({"missing": ["order.country", "order.vat"]}, True),
        ({"missing": ["nothing", "order.lines.2"]}, False),
        ({"missing": "order.vat"}, True),
        ({"==": [1, 1.0]}, True),
        ({"==": [1, "1"]}, False),
        ({"==": [1, True]}, False),
        ({"==": [0, False]}, False),
        ({"==": [None, var("order.vat")]}, True),
        ({"==": [[1, [True]], [1.0, [True]]]}, True),
        ({"==": [[1], [True]]}, False),
        ({"==": [var("order.lines.0"), {"var": "order.lines.0"}]}, True),
        ({"!=": [1, 1.0]}, False),
        ({"!=": [1, True]}, True),
        ({"!=": ["a", None]}, True),
        ({"<": [1, 1.5]}, True),
        ({"<": ["B", "a"]}, True),
        ({"<": [1, "2"]}, False),
        ({">=": [1, "2"]}, False),
        ({"<=": [None, None]}, False),
        ({">=": [None, 0]}, False),
        ({"<": [False, True]}, False),
        ({"<": [False, 1]}, False),
        ({"<=": [[1], [1]]}, False),
        ({"<=": [2, 2.0]}, True),
        ({">": [var("order.amount"), 1000]}, True),
        ({"in": ["IT", ["FR", "IT"]]}, True),
        ({"in": [1, [True, "1"]]}, False),
        ({"in": [1, [1.0]]}, True),
        ({"in": ["I", "IT"]}, True),
        ({"in": [1, "1"]}, False),
        ({"in": ["a", None]}, False),
        ({"in": ["item", var("order.lines.0")]}, False),
        ({"in": [None, [None]]}, True),
        ({"in": ["IT", [var("order.country")]]}, True),
        ({"and": [1, "a", True]}, True),
        ({"and": [1, ""]}, False),
        ({"or": [0, "", None, [], False]}, False),
        ({"or": [0, "0"]}, True),
        ({"or": [var("empty")]}, True),
        ({"not": var("no")}, True),
        ({"not": [var("no")]}, True),
        ({"not": [{"missing": ["order"]}]}, True),
        (True, True),
        (False, False),
    ],
)
def test_what_a_node_gives(node, value):
    assert list(check_condition(node, pointer="")) == []
    assert evaluate(node, CONTEXT) == value
    assert type(evaluate(node, CONTEXT)) is type(value)


@pytest.mark.parametrize(
    ("value", "counts"),
    [(None, False), (False, False), (0, False), (0.0, False), ("", False), ([], False), ({}, True), ([0], True),
     ("0", True), ("false", True), (-1, True), (True, True)],
)  # fmt: skip
def test_what_counts_as_true(value, counts):
    assert holds({"var": "x"}, {"x": value}) is counts


@given(conditions, contexts)
def test_a_condition_always_gives_yes_or_no_and_changes_nothing(condition, context):
    before = json.dumps([condition, context])

    assert list(check_condition(condition, pointer="/when")) == []
    assert holds(condition, context) is holds(condition, context)
    assert describe(condition)
    assert json.dumps([condition, context]) == before


@given(json_values, contexts)
def test_even_a_node_that_publishing_would_refuse_raises_nothing(node, context):
    holds(node, context)
    describe(node)
    list(check_condition(node, pointer=""))


@pytest.mark.parametrize("operator", ["==", "<", "in", "and", "or", "not", "var", "missing", "xor"])
@given(operands=json_values)
def test_nor_do_operands_of_the_wrong_kind(operator, operands):
    holds({operator: operands}, {"a": 1})
    describe({operator: operands})
    list(check_condition({operator: operands}, pointer=""))


@given(json_values, json_values)
def test_equality_goes_all_the_way_down_and_both_ways(one, other):
    assert equal(one, json.loads(json.dumps(one)))
    assert equal(one, other) is equal(other, one)
    assert equal([one], [other]) is equal({"a": one}, {"a": other}) is equal(one, other)


@pytest.mark.parametrize(
    ("node", "pointers"),
    [
        ("__import__('os').system('id')", [""]),
        (None, [""]),
        (1, [""]),
        ([{"==": [1, 1]}], [""]),
        ({}, [""]),
        ({"==": [1, 1], "!=": [1, 2]}, [""]),
        ({"equals": [1, 1]}, [""]),
        ({"==": [1]}, [""]),
        ({"==": [1, 2, 3]}, [""]),
        ({"<": {"var": "a"}}, [""]),
        ({"and": []}, [""]),
        ({"and": {"var": "a"}}, [""]),
        ({"not": []}, [""]),
        ({"not": [True, False]}, [""]),
        ({"var": 1}, [""]),
        ({"var": ""}, [""]),
        ({"var": "a..b"}, [""]),
        ({"var": ["a", 1, 2]}, [""]),
        ({"var": []}, [""]),
        ({"var": {"var": "a"}}, [""]),
        ({"missing": []}, [""]),
        ({"missing": ["a", ""]}, [""]),
        ({"missing": [{"var": "a"}]}, [""]),
        ({"and": [{"==": [1]}, True, {"or": [{"nope": 1}]}]}, ["/and/0", "/and/2/or/0"]),
        ({"in": [1, [{"a": 1, "b": 2}]]}, ["/in/1/0"]),
        ({"not": {"nope": 1}}, ["/not"]),
        ({"not": [{"nope": 1}]}, ["/not/0"]),
        ({"var": ["a", {"nope": 1}]}, ["/var/1"]),
        ({"==": [{"a/b": 1}, {"c~d": {}}]}, ["/==/0", "/==/1"]),
    ],
)
def test_what_publishing_refuses(node, pointers):
    problems = list(check_condition(node, pointer="/when"))

    assert [problem.pointer for problem in problems] == ["/when" + pointer for pointer in pointers]
    assert {problem.code for problem in problems} == {"bad_condition"}


def test_depth_and_number_of_nodes_are_bounded():
    deep = {"var": "a"}
    for _ in range(31):
        deep = {"not": deep}
    wide = {"and": [{"var": "a"}] * 255}

    assert not list(check_condition(deep, pointer=""))
    assert not list(check_condition(wide, pointer=""))
    assert not list(check_condition({"in": [{"var": "a"}, list(range(5_000))]}, pointer=""))
    assert [problem.pointer for problem in check_condition({"not": deep}, pointer="")] == ["/not" * 32]
    assert [problem.pointer for problem in check_condition({"or": [wide, True]}, pointer="")] == ["/or/0/and/254"]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"and": [{"==": [var("order.country"), "IT"]}, {">": [var("amount"), 1000]}]},
         "order.country is IT and amount > 1,000"),
        ({"or": [{"and": [var("a"), var("b")]}, {"not": var("c")}]}, "(a and b) or not (c)"),
        ({"in": [var("c"), ["IT", "FR"]]}, "c is one of IT, FR"),
        ({"in": ["x", var("c")]}, "x is in c"),
        ({"missing": ["a", "b.c"]}, "a or b.c is missing"),
        ({"==": [var("a", 0), None]}, "a (or 0 when it is missing) is nothing"),
        ({"!=": [{"==": [var("a"), 1]}, True]}, "(a is 1) is not true"),
        (True, "true"),
    ],
)  # fmt: skip
def test_how_a_condition_reads_aloud(node, said):
    assert describe(node) == said
