"""The W3C Trace Context is read as its recommendation says; whatever is wrong with one is ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import tracecontext
from workflows.tracecontext import TraceContext

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_one_is_read_and_written():
    found = tracecontext.read(GOOD, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")

    assert found == TraceContext(TRACE, SPAN, True, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert found.parent == GOOD
    assert tracecontext.from_text(str(found)) == found
    assert tracecontext.from_headers(found.headers) == found


@pytest.mark.parametrize(
    ("flags", "sampled", "passed_on"),
    [("00", False, "00"), ("01", True, "01"), ("03", True, "01"), ("fe", False, "00")],
)
def test_flags_without_a_meaning_are_not_passed_on(flags, sampled, passed_on):
    found = tracecontext.read(f"00-{TRACE}-{SPAN}-{flags}")

    assert (found.sampled, found.parent[-2:]) == (sampled, passed_on)


@pytest.mark.parametrize(
    "parent",
    [
        None, 7, "", "garbage", GOOD.upper(), GOOD + "-", GOOD + "-00", GOOD[:-1], GOOD + "0", "-" + GOOD,
        f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}-0x",
        f"00_{TRACE}_{SPAN}_01", f"{GOOD},{GOOD}", f"{GOOD}\n", f"0g-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01x",
        f"٠٠-{TRACE}-{SPAN}-01",
    ],
)  # fmt: skip
def test_what_is_none_is_ignored(parent):
    assert tracecontext.read(parent, "a=b") is None


@pytest.mark.parametrize("more", ["", "-", "-what-comes-then"])
def test_a_later_version_is_read_as_far_as_it_is_known(more):
    found = tracecontext.read(f"cc-{TRACE}-{SPAN}-01{more}")

    assert found is not None
    assert found.parent == GOOD


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1, b=2 ,,c=3", "a=1,b=2,c=3"),
        ("tenant@system=x", "tenant@system=x"),
        ("0tenant@system=x", "0tenant@system=x"),
        ("a= 1", "a= 1"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("0a=1", ""),
        ("a", ""),
        ("a=b=c", ""),
        ("a=\u00fc", ""),
        (f"a={'x' * 257}", ""),
        (",".join(f"k{n}=v" for n in range(33)), ""),
        (None, ""),
        (3, ""),
    ],
)
def test_a_state_that_is_wrong_is_left_out_and_the_parent_stays(state, kept):
    assert tracecontext.read(GOOD, state) == TraceContext(TRACE, SPAN, True, kept)


def test_a_state_that_is_too_long_loses_whole_members_the_long_ones_first():
    short = [f"k{n}={'v' * 90}" for n in range(5)]
    state = ",".join([short[0], f"long={'v' * 200}", *short[1:]])

    assert tracecontext.read(GOOD, state).state == ",".join(short)
    assert len(tracecontext.read(GOOD, ",".join(f"k{n}={'v' * 90}" for n in range(9))).state) <= 512


@given(st.text(), st.text())
def test_nothing_is_ever_refused(parent, state):
    tracecontext.read(parent, state)
    found = tracecontext.read(GOOD, state)

    assert tracecontext.from_text(str(found)) == found
