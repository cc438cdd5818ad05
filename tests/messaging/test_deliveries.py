"""A delivery is taken apart to the bytes, and what cannot be read is a fault of that one message."""

import struct

import pytest
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from workflows.messaging.deliveries import KEPT_OF_TOO_LARGE, Delivery

METHOD = b"\x00\x3c\x00\x3c\x05queue" + struct.pack(">QB", 7, 1)


def head(size, flags, properties=b""):
    return struct.pack(">HHQH", 60, 0, size, flags) + properties


def delivery(most=1_000_000):
    return Delivery(METHOD, most)


def test_the_method_tells_queue_and_tag():
    one = delivery()

    assert (one.queue, one.tag, one.redelivered) == ("queue", 7, True)


def test_properties_are_found_by_their_places():
    flags = 0x8000 | 0x4000 | 0x2000 | 0x1000 | 0x0800 | 0x0400 | 0x0200 | 0x0100 | 0x0080 | 0x0040
    values = ["application/json", "utf-8", {"a": 1}, 2, 9, "corr", "reply", "60000", "id-1", 0]
    one = delivery()

    assert not one.header(head(2, flags, dumps("ssFoosssssL"[:9] + "L", values)))
    assert one.chunk(b"{}")

    assert (one.fault, one.message_id, one.body) == (None, "id-1", b"{}")


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (b"\x01aF" * 20, None),  # tables in tables, all cut off, and nothing that we look for
        (b"\x0bcompression\xff", "properties"),  # a value of no known type
        (b"\x0bcompressionF" + b"\x00\x00\x10\x00\x01aF" * 2_000, "properties"),  # deeper than a stack
        (b"\x0bcompressionS\xff\xff\xff\xff", None),  # a text without beginning or end
        (b"x" * 20_000, "too_large"),
    ],
)
def test_tables_that_cannot_be_read_are_a_fault(table, code):
    one = delivery()

    one.header(head(2, 0x2000, struct.pack(">I", len(table)) + table))

    assert (one.fault and one.fault[0]) == code


@given(st.integers(0, 0xFFFF), st.binary(max_size=200))
def test_no_bytes_make_it_raise(flags, properties):
    one = delivery()
    one.header(head(2, flags, properties))
    one.chunk(b"{}")

    incoming = one.as_incoming()

    assert incoming.body == b"{}"
    assert incoming.fault is None or incoming.fault[1]


def test_of_a_body_that_is_too_large_only_the_beginning_is_kept():
    one = delivery(most=100_000)
    one.header(head(10_000_000, 0))

    ended = [one.chunk(b"x" * 100_000) for _ in range(100)]

    assert ended == [False] * 99 + [True]
    assert len(one.body) == KEPT_OF_TOO_LARGE
    assert (one.size, one.fault[0]) == (10_000_000, "too_large")
