"""The proxy that breaks lines for other tests must do what it says, else those tests prove nothing."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says everything back."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=say_back, args=(server.accept()[0],), daemon=True).start()

    def say_back(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4096):
                heard.append(data)
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()
    heard.clear()


heard: list[bytes] = []


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", echo)) as proxy:
        yield proxy


def _client(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def _asked(client: socket.socket, what: bytes) -> bytes:
    client.sendall(what)
    return client.recv(4096)


def test_it_passes_everything_on(proxy: Proxy) -> None:
    with _client(proxy) as client:
        assert _asked(client, b"hello") == b"hello"

        big = b"x" * 1_000_000
        threading.Thread(target=client.sendall, args=(big,)).start()
        got = 0
        while got < len(big):
            got += len(client.recv(65_536))

        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_a_cut_resets_and_lets_new_ones_in(proxy: Proxy) -> None:
    with _client(proxy) as client:
        assert _asked(client, b"one") == b"one"

        proxy.cut()

        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with _client(proxy) as client:
        assert _asked(client, b"two") == b"two"


def test_refused_until_healed(proxy: Proxy) -> None:
    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        _client(proxy)

    proxy.heal()

    with _client(proxy) as client:
        assert _asked(client, b"back") == b"back"


def test_what_is_held_flows_after_healing(proxy: Proxy) -> None:
    with _client(proxy) as client:
        assert _asked(client, b"one") == b"one"
        proxy.hold("down")
        client.sendall(b"two")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert b"two" in heard

        proxy.heal()

        client.settimeout(10)
        assert client.recv(10) == b"two"


def test_a_delay_is_one(proxy: Proxy) -> None:
    with _client(proxy) as client:
        proxy.delay(0.3, "up")
        begun = time.monotonic()

        assert _asked(client, b"late") == b"late"

        assert time.monotonic() - begun >= 0.3


def test_a_dropped_reply_was_asked_for(proxy: Proxy) -> None:
    with _client(proxy) as client:
        proxy.drop_reply()
        client.sendall(b"do it")

        with pytest.raises(ConnectionResetError):
            client.recv(1)

    assert heard == [b"do it"]
    proxy.heal()


def test_a_reset_in_the_middle_of_a_message(proxy: Proxy) -> None:
    with _client(proxy) as client:
        proxy.reset_after(4, "up")
        client.sendall(b"half a message")

        with pytest.raises(ConnectionResetError):
            _read_to_the_end(client)

    _wait_for(lambda: b"".join(heard) == b"half")


def test_one_byte_at_a_time(proxy: Proxy) -> None:
    with _client(proxy) as client:
        proxy.trickle("down", seconds=0.05)
        client.sendall(b"slow")
        got = [client.recv(100) for _ in range(4)]

        assert got == [b"s", b"l", b"o", b"w"]


def _read_to_the_end(client: socket.socket) -> None:
    while client.recv(100):
        pass


def _wait_for(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
