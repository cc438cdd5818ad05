"""The channel layer of processes that only send: Channels' own layer hears it, and errors cost one connection."""

import asyncio
import secrets

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.asyncio import Redis

from orchestrator_site import redis
from orchestrator_site.redis_sending import Refused, SendingLayer, is_plain

MESSAGE = {"type": "live.changed", "changes": [["id", 7, ["größer", None]]]}


@pytest.fixture
def prefix():
    return f"sending-{secrets.token_hex(4)}"


class Listening:
    """A group that Channels' own layer listens to."""

    def __init__(self, url, prefix):
        self.layer = RedisPubSubChannelLayer(hosts=[url], prefix=prefix)

    async def __aenter__(self):
        self.channel = await self.layer.new_channel()
        await self.layer.group_add("everything", self.channel)
        return self

    async def __aexit__(self, *_):
        await self.layer.flush()

    async def hear(self):
        async with asyncio.timeout(20):
            return await self.layer.receive(self.channel)


def test_what_it_sends_is_heard_by_the_layer_of_channels(redis_url, prefix):
    async def story():
        async with Listening(redis_url, prefix) as listening:
            sender = SendingLayer(url=redis_url, prefix=prefix)
            # Several at once: their commands do not mix.
            await asyncio.gather(*(sender.group_send("everything", MESSAGE | {"number": n}) for n in range(20)))
            await sender.flush()
            return [await listening.hear() for _ in range(20)]

    heard = asyncio.run(story())

    assert heard == [MESSAGE | {"number": number} for number in range(20)]


def test_a_connection_that_the_server_has_closed_is_opened_anew(redis_url, prefix):
    async def story():
        async with Listening(redis_url, prefix) as listening, Redis.from_url(redis_url) as admin:
            sender = SendingLayer(url=redis_url, prefix=prefix)
            await sender.group_send("everything", MESSAGE)
            port = sender._open[1].get_extra_info("sockname")[1]
            assert await admin.execute_command("CLIENT", "KILL", "ADDR", f"127.0.0.1:{port}")
            await sender.group_send("everything", MESSAGE)
            await sender.flush()
            return [await listening.hear() for _ in range(2)]

    assert asyncio.run(story()) == [MESSAGE, MESSAGE]


def test_it_signs_in_and_says_when_it_is_refused():
    taken, ended = [], asyncio.Event()

    async def answer(reader, writer):
        for reply in (b"+OK\r\n", b":1\r\n", b"-NOPERM not for you\r\n"):
            count = int((await reader.readline())[1:])
            lengths = [(int((await reader.readline())[1:]), await reader.readline()) for _ in range(count)]
            taken.append([word[:length] for length, word in lengths])
            writer.write(reply)
        assert not await reader.read()  # it has hung up
        writer.close()
        await writer.wait_closed()
        ended.set()

    async def story():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = SendingLayer(url=f"redis://us%40r:p%2Fw@127.0.0.1:{port}/3", prefix="x")
        await sender.group_send("g", {})
        with pytest.raises(Refused, match="NOPERM not for you"):
            await sender.group_send("g", {})
        await ended.wait()
        server.close()
        with pytest.raises(OSError):
            await sender.group_send("g", {})

    asyncio.run(story())

    published = [b"PUBLISH", b"x__group__g", b"\x80"]
    assert taken == [[b"AUTH", b"us@r", b"p/w"], published, published]


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("orchestrator_site.redis_sending.ANSWER_SECONDS", 0.1)

    ended = asyncio.Event()

    async def silent(reader, writer):
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async def story():
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        sender = SendingLayer(url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", prefix="x")
        with pytest.raises(TimeoutError):
            await sender.group_send("g", {})
        assert sender._open is None
        await ended.wait()
        server.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("redis://host", True),
        ("redis://:password@host:6380/2", True),
        ("redis://[::1]/2", True),
        ("rediss://host", False),
        ("unix:///run/redis.sock", False),
        ("redis://host?socket_timeout=3", False),
    ],
)
def test_what_it_does_not_know_is_left_to_the_library(url, plain):
    layer = redis.channel_layer(url, prefix="x", only_sends=True)["BACKEND"]

    assert is_plain(url) is plain
    assert layer.endswith("SendingLayer" if plain else "RedisPubSubChannelLayer")
    assert redis.channel_layer(url, prefix="x")["BACKEND"].endswith("RedisPubSubChannelLayer")
