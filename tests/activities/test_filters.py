"""Filter policies: what they say, which are refused and where, and an index that agrees with a naive reading of them."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.templates import json_values
from workflows.activities.filter_index import FilterIndex
from workflows.activities.filters import InvalidPolicy, compile_policy, problems_of


def matches(policy, **attributes):
    return compile_policy(policy).matches(attributes)


# --- what policies say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "holding", "not_holding"),
    [
        (["ACME"], ["ACME"], ["acme", "ACME ", "", 5, True, None]),
        ([5], [5, 5.0], ["5", 5.1, True, None]),
        ([1], [1], [True]),
        ([True], [True], [1, 1.0, "true", False, None]),
        (["a", 1, False], ["a", 1, False], ["b", 0, True]),
        ([{"prefix": "AC"}], ["AC", "ACME"], ["A", "ac", "xAC", 5, None]),
        ([{"suffix": "ME"}], ["ME", "ACME"], ["E", "MEx", 5, None]),
        ([{"anything-but": "a"}], ["b", 1, True, ""], ["a", None]),
        ([{"anything-but": ["a", 1]}], ["b", 2, True], ["a", 1, 1.0, None]),
        ([{"anything-but": [True]}], [False, 1, "true"], [True, None]),
        ([{"anything-but": {"prefix": "or-"}}], ["order", 5, False], ["or-1", None]),
        ([{"anything-but": {"suffix": ["x", "y"]}}], ["xz", 5], ["zx", "zy", None]),
        ([{"numeric": ["=", 5]}], [5, 5.0], [4, "5", True, None]),
        ([{"numeric": [">", 5]}], [5.1, 10**400], [5, "6", None]),
        ([{"numeric": ["<=", 5]}], [5, -1e300], [5.1, False]),
        ([{"numeric": [">=", 0, "<", 10]}], [0, 9.99], [-1, 10]),
        ([{"numeric": [">=", 3, "<=", 3]}], [3], [2, 4]),
        ([{"exists": True}], ["", 0, False], [None]),
        ([{"exists": False}], [None], ["", 0, False]),
        (["a", {"exists": False}, {"numeric": [">", 1]}], ["a", None, 2], ["b", 1]),
    ],
)
def test_a_condition_holds_for_these_and_not_for_those(conditions, holding, not_holding):
    for value in holding:
        assert matches({"key": conditions}, **({} if value is None else {"key": value})), value
    for value in not_holding:
        assert not matches({"key": conditions}, **({} if value is None else {"key": value})), value


def test_all_keys_must_hold_and_one_of_each_or():
    policy = {"a": [1], "b": [2, 3], "$or": [{"c": [4]}, {"d": [5], "e": [6]}]}

    assert matches(policy, a=1, b=3, c=4)
    assert matches(policy, a=1, b=2, d=5, e=6, f=7)
    assert not matches(policy, a=1, b=3, d=5)
    assert not matches(policy, a=1, c=4)
    assert not matches(policy, b=2, c=4)
    assert matches({}, a=1)
    assert matches({})
    assert matches({"$or": [{"a": [1]}, {}]})


# --- which are refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ([], [("", "wrong_type")]),
        ({"a": "ACME"}, [("/a", "wrong_type")]),
        ({"a": []}, [("/a", "bad_value")]),
        ({"a": ["x", None]}, [("/a/1", "wrong_type")]),
        ({"a": [["x"]]}, [("/a/0", "wrong_type")]),
        ({"a": ["x" * 201]}, [("/a/0", "bad_value")]),
        ({"a": [10**400]}, [("/a/0", "bad_value")]),
        ({"a": [{}]}, [("/a/0", "bad_value")]),
        ({"a": [{"prefix": "x", "suffix": "y"}]}, [("/a/0", "bad_value")]),
        ({"a": [{"equals": "x"}]}, [("/a/0/equals", "bad_value")]),
        ({"a/b": [{"prefix": 5}]}, [("/a~1b/0/prefix", "wrong_type")]),
        ({"a": [{"suffix": ""}]}, [("/a/0/suffix", "bad_value")]),
        ({"a": [{"exists": "yes"}]}, [("/a/0/exists", "wrong_type")]),
        ({"a": [{"anything-but": None}]}, [("/a/0/anything-but", "wrong_type")]),
        ({"a": [{"anything-but": []}]}, [("/a/0/anything-but", "bad_value")]),
        ({"a": [{"anything-but": ["x", {}]}]}, [("/a/0/anything-but/1", "wrong_type")]),
        ({"a": [{"anything-but": {"numeric": ["=", 1]}}]}, [("/a/0/anything-but", "bad_value")]),
        ({"a": [{"anything-but": {"prefix": ["x", 1]}}]}, [("/a/0/anything-but/prefix/1", "wrong_type")]),
        ({"a": [{"numeric": 5}]}, [("/a/0/numeric", "bad_value")]),
        ({"a": [{"numeric": [">"]}]}, [("/a/0/numeric", "bad_value")]),
        ({"a": [{"numeric": ["!", 5]}]}, [("/a/0/numeric/0", "bad_value")]),
        ({"a": [{"numeric": [">", "5"]}]}, [("/a/0/numeric/1", "wrong_type")]),
        ({"a": [{"numeric": [">", True]}]}, [("/a/0/numeric/1", "wrong_type")]),
        ({"a": [{"numeric": ["<", 5, ">", 1]}]}, [("/a/0/numeric/0", "bad_value"), ("/a/0/numeric/2", "bad_value")]),
        ({"a": [{"numeric": [">", 5, "<", 5]}]}, [("/a/0/numeric", "bad_value")]),
        ({"a": [{"numeric": [">=", 6, "<=", 5]}]}, [("/a/0/numeric", "bad_value")]),
        ({"a": [{"numeric": [[], {}]}]}, [("/a/0/numeric/0", "bad_value"), ("/a/0/numeric/1", "wrong_type")]),
        ({"$or": {}}, [("/$or", "wrong_type")]),
        ({"$or": []}, [("/$or", "bad_value")]),
        ({"$or": [{"a": [1]}, "b"]}, [("/$or/1", "wrong_type")]),
        ({"$or": [{"a": [{"prefix": 1}]}]}, [("/$or/0/a/0/prefix", "wrong_type")]),
        ({"$and": []}, [("/$and", "bad_value")]),
        ({"": [1]}, [("/", "bad_value")]),
        ({"a": list(range(300)), "b": list(range(300))}, [("", "bad_value")]),
        ({"$or": [{"$or": [{"$or": [{"$or": [{"$or": [{"$or": [{}]}]}]}]}]}]}, [("/$or/0" * 5 + "/$or", "bad_value")]),
        ({"b": 1, "a": 2}, [("/a", "wrong_type"), ("/b", "wrong_type")]),
    ],
)  # fmt: skip
def test_each_fault_is_told_at_its_place(policy, found):
    assert [(problem.pointer, problem.code) for problem in problems_of(policy)] == found
    assert [problem.pointer for problem in problems_of(policy, pointer="/filter")] == [
        "/filter" + at for at, _ in found
    ]
    with pytest.raises(InvalidPolicy) as refused:
        compile_policy(policy)
    assert refused.value.problems == problems_of(policy)


@given(json_values)
def test_anything_may_be_sent(value):
    if not problems_of(value):
        compile_policy(value).matches({"a": 1})


# --- the meaning, naively --------------------------------------------------------------------------------------------


def naive(policy, attributes):
    return all(
        any(naive(one, attributes) for one in said)
        if key == "$or"
        else any(naive_condition(one, key in attributes, attributes.get(key)) for one in said)
        for key, said in policy.items()
    )


def naive_condition(condition, there, value):
    if not isinstance(condition, dict):
        return there and same(condition, value)
    ((operator, said),) = condition.items()
    if operator == "exists":
        return there is said
    if not there:
        return False
    if operator in ("prefix", "suffix"):
        return begins_or_ends(operator, said, value)
    if operator == "numeric":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and all(compared(value, *said[at : at + 2]) for at in range(0, len(said), 2))
    assert operator == "anything-but"
    if isinstance(said, dict):
        ((operator, parts),) = said.items()
        return not any(begins_or_ends(operator, one, value) for one in (parts if isinstance(parts, list) else [parts]))
    return not any(same(one, value) for one in (said if isinstance(said, list) else [said]))


def same(one, other):
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def begins_or_ends(operator, part, value):
    if not isinstance(value, str):
        return False
    return (
        value[: len(part)] == part
        if operator == "prefix"
        else value[len(value) - len(part) :] == part and len(part) <= len(value)
    )


def compared(value, sign, bound):
    return {"=": value == bound, "<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[
        sign
    ]


KEYS = st.sampled_from(["a", "b", "c"])
TEXTS = st.text("xyZ", min_size=1, max_size=3)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -0.5, 1.0, 2.5])
VALUES = TEXTS | NUMBERS | st.booleans()
ATTRIBUTES = st.dictionaries(KEYS, VALUES | st.just(""), max_size=3)


@st.composite
def ranges(draw):
    if draw(st.booleans()):
        return [draw(st.sampled_from(["=", "<", "<=", ">", ">="])), draw(NUMBERS)]
    low, high = sorted([draw(NUMBERS), draw(NUMBERS)])
    signs = [">=", "<="] if low == high else [draw(st.sampled_from([">", ">="])), draw(st.sampled_from(["<", "<="]))]
    return [signs[0], low, signs[1], high]


PARTS = TEXTS | st.lists(TEXTS, min_size=1, max_size=2)
CONDITIONS = st.one_of(
    VALUES,
    st.fixed_dictionaries({"prefix": TEXTS}),
    st.fixed_dictionaries({"suffix": TEXTS}),
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"numeric": ranges()}),
    st.fixed_dictionaries({"anything-but": VALUES | st.lists(VALUES, min_size=1, max_size=3)}),
    st.fixed_dictionaries(
        {"anything-but": st.fixed_dictionaries({"prefix": PARTS}) | st.fixed_dictionaries({"suffix": PARTS})}
    ),
)
PLAIN = st.dictionaries(KEYS, st.lists(CONDITIONS, min_size=1, max_size=3), max_size=2)
POLICIES = st.recursive(
    PLAIN,
    lambda inner: st.builds(lambda plain, some: {**plain, "$or": some}, PLAIN, st.lists(inner, min_size=1, max_size=3)),
    max_leaves=4,
)


@given(POLICIES, ATTRIBUTES)
@example({"a": [{"numeric": ["<", 5]}]}, {"a": True})
@example({"a": [{"anything-but": [1]}]}, {"a": True})
def test_a_policy_means_what_it_says(policy, attributes):
    assert problems_of(policy) == ()
    assert compile_policy(policy).matches(attributes) is naive(policy, attributes)


@given(st.lists(POLICIES, max_size=12), st.lists(ATTRIBUTES, min_size=1, max_size=4))
def test_the_index_finds_what_matches_and_nothing_else(policies, several):
    index = FilterIndex((number, compile_policy(policy)) for number, policy in enumerate(policies))

    for attributes in several:
        assert index.matching(attributes) == [n for n, policy in enumerate(policies) if naive(policy, attributes)]


@given(
    st.lists(st.lists(ranges(), min_size=1, max_size=3), min_size=1, max_size=30),
    st.lists(NUMBERS, min_size=1, max_size=5),
)
def test_ranges_are_found_among_many(many, values):
    policies = [{"a": [{"numeric": one} for one in some]} for some in many]
    index = FilterIndex((number, compile_policy(policy)) for number, policy in enumerate(policies))

    for value in values:
        found = [number for number, policy in enumerate(policies) if naive(policy, {"a": value})]
        assert index.matching({"a": value}) == found


def test_a_policy_with_more_branches_than_are_looked_up_is_found():
    policy = {"$or": [{"$or": [{"a": [one]}, {"b": [one]}]} for one in range(40)]}
    index = FilterIndex([("many", compile_policy(policy)), ("one", compile_policy({"a": [39]}))])

    assert index.matching({"a": 39}) == ["many", "one"]
    assert index.matching({"a": 40}) == []


# --- what it costs ---------------------------------------------------------------------------------------------------

SEEN = {"customer": "C-0007", "amount": 750, "region": "eu-west", "paid": True, "kind": "order"}
MATCHING = [
    {"kind": ["order"], "customer": ["C-0007"]},
    {"kind": ["order"], "customer": [{"prefix": "C-00"}]},
    {"region": [{"suffix": "west"}], "paid": [True]},
    {"amount": [{"numeric": [">", 749, "<=", 750]}]},
    {"customer": ["C-0007"], "amount": [{"numeric": [">=", 100]}]},
    {"$or": [{"customer": ["C-0007"]}, {"customer": ["C-0008"]}]},
    {"kind": [{"anything-but": ["refund"]}], "customer": ["C-0007"]},
    {"discount": [{"exists": False}], "customer": ["C-0007"]},
    {"customer": [{"anything-but": {"prefix": "X"}}], "amount": [{"numeric": ["=", 750]}]},
    {},
]


def others(number):
    """Policies of all kinds that do not match SEEN, all different, many alike in one of their keys."""
    name = f"C-{number + 1000:04}"
    return [
        {"kind": ["order"], "customer": [name]},
        {"kind": ["order"], "customer": [{"prefix": name[:5]}, {"suffix": f"-{number}"}]},
        {"amount": [{"numeric": [">=", 1000 + number, "<", 1010 + number]}], "paid": [True]},
        {"amount": [{"numeric": [">", number % 700, "<", number % 700 + 20]}], "kind": ["order"]},
        {"$or": [{"customer": [name]}, {"amount": [{"numeric": ["<", -number]}]}]},
        {"kind": [{"anything-but": ["refund"]}], "region": [f"us-{number}"]},
        {"kind": [{"anything-but": ["order", f"other-{number}"]}]},
        {"customer": [{"exists": True}], f"flag_{number}": [{"exists": True}]},
        {"paid": [True], "discount": [number]},
        {"region": ["eu-west"], "customer": [{"anything-but": ["C-0007", name]}]},
    ][number % 10]


def took(index):
    """The processor's time for some looks: what others do on this machine does not count."""
    begun = time.thread_time()
    for _ in range(100):
        index.matching(SEEN)
    return time.thread_time() - begun


def test_a_thousand_policies_cost_at_most_twice_what_ten_do_that_match():
    ten = [(f"p{number}", compile_policy(policy)) for number, policy in enumerate(MATCHING)]
    more = [(f"o{number}", compile_policy(others(number))) for number in range(1_000 - len(ten))]
    small, large = FilterIndex(ten), FilterIndex([*more[:500], *ten, *more[500:]])
    assert small.matching(SEEN) == large.matching(SEEN) == [name for name, _ in ten]

    rounds = [(took(small), took(large)) for _ in range(40)]

    assert min(one for _, one in rounds) <= 2 * min(one for one, _ in rounds), rounds
