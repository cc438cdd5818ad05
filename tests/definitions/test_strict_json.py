"""What two readers could understand differently is refused, with the place."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.definitions.conditions import equal
from workflows.definitions.strict_json import MAX_BYTES, InvalidJson, canonical, check_value, parse

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(values, st.booleans())
def test_json_comes_back_as_it_was_sent(value, escaped):
    raw = json.dumps(value, ensure_ascii=escaped).encode()

    assert parse(raw) == value
    check_value(value)


@given(values)
def test_canonical_json_says_the_same(value):
    assert equal(json.loads(canonical(value)), value)
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(st.binary() | st.text('[]{}",:\\u0123d8e+-.truefalsn NaNInfinity').map(str.encode))
def test_any_bytes_give_a_value_or_a_reason(raw):
    try:
        value = parse(raw)
    except InvalidJson:
        return
    check_value(value)
    assert value == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "line 1, column 1"),
        (b"   ", "nothing here"),
        (b'{"a": 1', "line 1, column 8"),
        (b"[1,]", "line 1, column 4"),
        (b'{"a": 1,}', "line 1, column 9"),
        (b"[1] // no", "Extra data: line 1, column 5"),
        (b"{} {}", "Extra data: line 1, column 4"),
        (b"[1,\n2,\n 3 4]", "line 3, column 4"),
        (b"{'a': 1}", "line 1, column 2"),
        (b"\xff", "UTF-8: line 1, byte 1"),
        (b'{\n"\xc3(": 1}', "UTF-8: line 2, byte 2"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "line 1, column 2"),
        (b'{"a": 1,\n "a": 2}', 'key "a" stands twice in one object: line 2, column 2'),
        (b'{"stages": [], "b": {"c": [{"d": 1, "\\u0064": 2}]}}', "line 1, column 37"),
        (b"NaN", "NaN is not a JSON number"),
        (b"[Infinity]", "line 1, column 2"),
        (b'{"a": -Infinity}', "line 1, column 7"),
        (b"1e400", "too large: line 1, column 1"),
        (b"[-1e999]", "too large: line 1, column 2"),
        (b"1.7976931348623159e308", "too large"),
        (b"9" * 400 + b".5", "too large"),
        (b"9" * 5_000, "64 bits"),
        (b'{"timeout": ' + b"1" * 5_000 + b"}", "64 bits: line 1, column 13"),
        (b"1" * 5_000 + b'"', "64 bits"),
        (b"18446744073709551616", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b'"\x00"', "control character"),
        (b'"a\nb"', "control character"),
        (b'["\\u0000"]', "NUL: line 1, column 2"),
        (b'{"\\u0000": 1}', "NUL: line 1, column 2"),
        (b'"\\ud800"', "surrogate"),
        (b'"\\udc00\\ud800"', "surrogate"),
        (b'{"a": {"x\\uDFFF": 1}}', "surrogate pair: line 1, column 8"),
        (b'"\\ud83d\\u0041"', "surrogate"),
        (b'"open', "line 1, column 1"),
        (b'"\\x41"', "line 1, column"),
        (b"[" * 65 + b"]" * 65, "64 levels: line 1, column 65"),
        (b"[" * 100_000, "64 levels"),
        (b'{"a":' * 100_000, "64 levels"),
        (b"tru", "line 1, column 1"),
        (b"\x0b1", "line 1, column 1"),
        (b"\xc2\xa01", "line 1, column 1"),
        (b"01", "Extra data"),
        (b"+1", "line 1, column 1"),
    ],
)
def test_what_is_refused(raw, says):
    with pytest.raises(InvalidJson) as caught:
        parse(raw)

    assert caught.value.code == "invalid_json"
    assert says in caught.value.message


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 64 + b"]" * 64,
        b"[" + b"[]," * 1_000 + b"{}]",
        b'"' + b"[" * 1_000 + b'"',
        b'"' + b"1" * 1_000 + b'"',
        b'"3e999,"',
        b'"\\\\u0000 \\\\ud800"',
        b'"\\ud83d\\ude00"',
        b"18446744073709551615",
        b"-9223372036854775808",
        b"1e308",
        b"1e-400",
        b" \t\r\n[1.50, -0]\n",
        b'[{"a": 1}, {"a": 1}, "a"]',
        b'{"a": {"a": 1}, "b": "a"}',
        b'"NaN Infinity"',
    ],
)
def test_what_only_looks_suspicious_is_taken(raw):
    assert parse(raw) == json.loads(raw)


def test_the_size_counts_before_anything_is_read():
    assert parse(b'"' + b"x" * (MAX_BYTES - 2) + b'"')

    with pytest.raises(InvalidJson) as caught:
        parse(b"\xff" * (MAX_BYTES + 1))

    assert caught.value.code == "too_large"


def test_limits_can_be_lowered():
    with pytest.raises(InvalidJson, match="3 bytes"):
        parse(b"[1]", max_bytes=2)
    with pytest.raises(InvalidJson, match="1 levels"):
        parse(b"[[]]", max_depth=1)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2**64, "\0", "\ud800", {"\0": 1}, {1: 2}, (1,), {1}, b"x", object(), {"a": [{"b": math.inf}]}],
)
def test_a_value_from_elsewhere_keeps_the_same_rules(value):
    with pytest.raises(InvalidJson):
        check_value(value)


def test_a_value_from_elsewhere_has_no_more_levels_either():
    value = []
    for _ in range(63):
        value = [value]
    check_value(value)

    with pytest.raises(InvalidJson, match="64 levels: at /0/0"):
        check_value([value])


def test_the_place_of_a_bad_value_is_a_pointer():
    with pytest.raises(InvalidJson, match="at /a~1b/1"):
        check_value({"a/b": [0, math.nan]})


def test_equal_values_are_written_equally():
    assert canonical({"b": 1.0, "a": [1e16, -0.0, 1.5, "é.0"]}) == '{"a":[10000000000000000,0,1.5,"é.0"],"b":1}'
    assert canonical(True) != canonical(1)
    assert canonical("1.0") == '"1.0"'
    assert canonical(1e300) == canonical(1e300)
