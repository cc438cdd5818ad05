"""The live updates as a client of a running site meets them."""

import contextlib
import json
import urllib.request
from urllib.parse import urlsplit

import pytest

from tests import servers
from tests.live.wire import BINARY, PING, Closed, Refused, Wire


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with servers.demo(tmp_path_factory.mktemp("live")) as running:
        yield running


def post(site, path, body, *, user):
    request = urllib.request.Request(
        f"{site.url}/api/v1/{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {site.tokens[user]}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def start(site, reference):
    return post(site, "instances/", {"component_name": "ITALIAN", "business_ref_no": reference}, user="service-bot")


def bearer(site, user):
    return {"authorization": f"Bearer {site.tokens[user]}"}


def test_a_program_hears_of_a_commit_at_once(site):
    with Wire(site.url, **bearer(site, "olivia")) as wire:
        first = wire.ask("instances")
        instance = start(site, "LIVE-1")
        said = wire.hear()

    assert said["topic"] == "instances"
    assert said["changed"] == [instance["id"]]
    assert said["sequence"] > first["sequence"]


def test_what_a_client_fetches_after_a_hint_is_what_the_hint_was_about(site):
    instance = start(site, "LIVE-2")
    topic = f"instance:{instance['id']}"
    with Wire(site.url, **bearer(site, "adam")) as wire:
        assert wire.ask(topic)["sequence"] == instance["last_sequence"]
        event = {
            "event_name": "TaskCompleted",
            "component_name": "ITALIAN",
            "business_ref_no": "LIVE-2",
            "stage_name": "ORDER",
            "task_name": "confirm_order",
        }
        post(site, "events/", event, user="service-bot")
        said = wire.hear()

    assert "ORDER/confirm_order" in said["changed"]
    request = urllib.request.Request(
        f"{site.url}/api/v1/instances/{instance['id']}/", headers={"Authorization": f"Bearer {site.tokens['adam']}"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        assert json.load(response)["last_sequence"] == said["sequence"]


@pytest.mark.parametrize(
    "origin", [None, "null", "http://elsewhere.example", "http://127.0.0.1.evil.example", "{other_port}", "{https}"]
)
def test_pages_of_others_do_not_get_in(site, origin):
    parts = urlsplit(site.url)
    headers = {} if origin is None else {"origin": origin}
    if origin == "{other_port}":
        headers = {"origin": f"http://{parts.hostname}:1"}
    elif origin == "{https}":
        headers = {"origin": f"https://{parts.netloc}"}

    with pytest.raises(Refused) as refused:
        Wire(site.url, **headers)

    assert refused.value.status == 403


def test_an_unknown_address_is_refused_without_a_traceback(site):
    with pytest.raises(Refused) as refused:
        Wire(site.url, path="/ws/other/", **bearer(site, "olivia"))

    assert refused.value.status in (403, 404)


def test_without_credentials_the_code_says_so(site):
    with Wire(site.url, origin=site.url) as wire:
        assert wire.code() == 4401


def test_bad_frames_end_it_and_no_traceback_is_left(site):
    with Wire(site.url, **bearer(site, "olivia")) as wire:
        wire.frame(BINARY, b"\x00\x01")
        wire.frame(1, b"{nope")
        wire.frame(1, b'{"action":"subscribe","topic":"\\ud800"}')
        assert wire.code() == 4400


@pytest.mark.parametrize(("size", "codes"), [(17_000, {4408}), (2_000_000, {1009, 1006})])
def test_large_frames_end_it(site, size, codes):
    with Wire(site.url, **bearer(site, "olivia")) as wire:
        # The server may hang up while a large one is still being sent.
        with contextlib.suppress(ConnectionError):
            wire.frame(1, b'{"action":"subscribe","topic":"' + b"x" * size + b'"}')

        assert wire.code() in codes


def test_a_hundred_frames_a_second_end_it(site):
    with Wire(site.url, **bearer(site, "olivia")) as wire:
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                wire.say({"action": "unsubscribe", "topic": "inbox"})

        assert wire.code() == 4429


def test_pings_are_answered_and_do_no_harm(site):
    with Wire(site.url, **bearer(site, "olivia")) as wire:
        with contextlib.suppress(ConnectionError):
            for _ in range(2_000):
                wire.frame(PING, b"x")
        with contextlib.suppress(Closed):
            assert wire.ask("inbox")["topic"] == "inbox"


def test_many_clients_hear_everything(site):
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(site.url, **bearer(site, "olivia"))) for _ in range(40)]
        for wire in wires:
            wire.ask("instances")

        wanted = {start(site, f"MANY-{number}")["id"] for number in range(20)}

        for wire in wires:
            missing = set(wanted)
            while missing:
                missing -= set(wire.hear()["changed"])


def test_nothing_above_has_left_a_traceback(site):
    with urllib.request.urlopen(f"{site.url}/healthz", timeout=20) as response:
        assert response.status == 200
    assert "Traceback" not in site.printed()
