"""How the address of a broker that speaks AMQP is read: as kombu reads it, which the client libraries of many use."""

import pytest
from kombu import Connection

from workflows.messaging.connecting import _address

PLAIN = {
    "host": "127.0.0.1:5672", "userid": "guest", "password": "guest", "virtual_host": "/", "login_method": "PLAIN",
    "ssl": False,
}  # fmt: skip

# More than kombu asks by itself.
CHECKED = {"context": {"check_hostname": True}, "server_hostname": "rabbit"}


@pytest.mark.parametrize(
    ("url", "differs"),
    [
        ("amqp://", {}),
        ("amqp://localhost", {}),
        ("amqp://localhost//", {}),
        ("pyamqp://rabbit:5673/", {"host": "rabbit:5673"}),
        ("amqp://us%40r:p%2Fw@rabbit/sh%2Fop", {
            "host": "rabbit:5672", "userid": "us@r", "password": "p/w", "virtual_host": "sh/op"
        }),
        ("amqps://rabbit/shop", {"host": "rabbit:5671", "ssl": CHECKED, "virtual_host": "shop"}),
        ("amqp://rabbit?login_method=EXTERNAL&heartbeat=9", {"host": "rabbit:5672", "login_method": "EXTERNAL"}),
    ],
)  # fmt: skip
def test_an_address_is_read_as_kombu_reads_it(url, differs):
    found = _address(url)
    by_kombu = _as_kombu(url)

    assert found == PLAIN | differs
    assert found | {"ssl": bool(found["ssl"])} == by_kombu


def test_a_host_of_ipv6_stands_in_brackets():
    assert _address("amqp://[::1]:5673/")["host"] == "[::1]:5673"


def _as_kombu(url):
    kept = {}

    class Kept:
        def __init__(self, **options):
            kept.update(options)

        def connect(self):
            return self

    transport = Connection(url).transport
    transport.Connection = Kept
    transport.establish_connection()
    return {name: kept[name] for name in PLAIN}
