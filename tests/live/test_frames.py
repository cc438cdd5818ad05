"""What a websocket takes and answers, and how it refuses."""

import json
import uuid

import pytest

from tests.live.sockets import start, threaded, websocket
from workflows.live import consumers

pytestmark = pytest.mark.asyncio
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("topic", ["instances", "inbox", "overview"])
async def test_a_subscription_is_answered_with_where_the_topic_stands(people, workflow, topic):
    answer = await threaded(start)("A-1")
    async with websocket(people["olga"]) as socket:
        said = await socket.ask(topic)

        assert said == {"topic": topic, "sequence": said["sequence"], "changed": []}
        assert said["sequence"] > 1_700_000_000_000_000
    assert answer.created


async def test_an_instance_stands_at_its_last_event(people, workflow):
    answer = await threaded(start)("A-1")
    async with websocket(people["olga"]) as socket:
        said = await socket.ask(f"instance:{answer.instance.id}")

    assert said == {
        "topic": f"instance:{answer.instance.id}",
        "sequence": answer.instance.last_sequence,
        "changed": [],
    }


async def test_an_empty_site_stands_at_nought(people):
    async with websocket(people["olga"]) as socket:
        assert (await socket.ask("instances"))["sequence"] == 0


@pytest.mark.parametrize(
    "frame",
    [
        "{nope",
        "1",
        "[]",
        "",
        "null",
        '"subscribe"',
        "{}",
        '{"action": "subscribe"}',
        '{"action": "shout", "topic": "inbox"}',
        '{"action": "subscribe", "topic": "everything"}',
        '{"action": "subscribe", "topic": "instances:1"}',
        '{"action": "subscribe", "topic": "instance"}',
        '{"action": "subscribe", "topic": 5}',
        '{"action": "subscribe", "topic": "inbox", "topic": "overview"}',
        '{"action": "subscribe", "topic": "inbox", "since": -1}',
        '{"action": "subscribe", "topic": "inbox", "since": "5"}',
        '{"action": "subscribe", "topic": "inbox", "since": 1.5}',
        '{"action": "subscribe", "topic": "inbox", "since": true}',
        '{"action": "subscribe", "topic": "inbox", "since": 1e400}',
        '{"type": "websocket.disconnect"}',
        '{"type": "_private"}',
        '{"type": "receive_json"}',
        "[" * 16_000,
    ],
)
async def test_a_bad_frame_is_told_and_the_third_ends_it(people, frame):
    async with websocket(people["olga"]) as socket:
        for _ in range(3):
            await socket.say(frame)
            said = await socket.hear()
            assert said["error"] == "bad_frame"
            assert said["detail"]

        assert await socket.code() == consumers.TOO_MANY_BAD_FRAMES == 4400


async def test_binary_frames_are_bad_frames(people):
    async with websocket(people["olga"]) as socket:
        await socket.say_bytes(b"\x00\x01")
        assert (await socket.hear())["error"] == "bad_frame"
        assert (await socket.ask("inbox"))["topic"] == "inbox"


async def test_a_frame_that_is_too_large_ends_it(people):
    async with websocket(people["olga"]) as socket:
        await socket.say(json.dumps({"action": "subscribe", "topic": "x" * 17_000}))

        assert await socket.code() == 4408


async def test_too_many_frames_end_it(people):
    async with websocket(people["olga"]) as socket:
        for _ in range(100):
            await socket.say({"action": "unsubscribe", "topic": "inbox"})

        assert await socket.code() == 4429


async def test_one_follows_fifty_topics_at_most(people, workflow):
    async with websocket(people["olga"]) as socket:
        for topic in ("inbox", "instances", "overview"):
            await socket.ask(topic)
        answers = [await threaded(start)(f"A-{number}") for number in range(48)]
        for answer in answers[:47]:
            await socket.say({"action": "subscribe", "topic": f"instance:{answer.instance.id}"})
        await socket.say({"action": "subscribe", "topic": f"instance:{answers[47].instance.id}"})
        while "error" not in (said := await socket.hear()):
            pass

        assert said["error"] == "too_many_subscriptions"
        assert said["topic"] == f"instance:{answers[47].instance.id}"


@pytest.mark.parametrize("spelling", [NOBODY, NOBODY.replace("-", ""), f"{{{NOBODY}}}", "1", "", "../etc", "%00"])
async def test_what_is_no_instance_is_not_found(people, spelling):
    async with websocket(people["olga"]) as socket:
        said = await socket.ask(f"instance:{spelling}")

        assert said["error"] == "not_found"
        assert said["topic"] == f"instance:{spelling}"


async def test_others_instances_are_not_found_in_the_same_words(people, workflow):
    answer = await threaded(start)("A-1")
    async with websocket(people["otto"]) as socket:
        theirs = await socket.ask(f"instance:{answer.instance.id}")
        none = await socket.ask(f"instance:{uuid.uuid4()}")

        assert {**theirs, "topic": ""} == {**none, "topic": ""}
        assert theirs["error"] == "not_found"


async def test_who_is_not_signed_in_is_told_and_closed(transactional_db):
    async with websocket("no-such-token") as socket:
        assert (await socket.hear())["error"] == "not_authenticated"
        assert await socket.code() == 4401


async def test_a_page_of_ours_without_a_session_is_told_and_closed(transactional_db):
    async with websocket(origin="http://localhost") as socket:
        assert (await socket.hear())["error"] == "not_authenticated"
        assert await socket.code() == 4401
