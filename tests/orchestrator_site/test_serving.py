"""How a web process ends: what is being answered is answered, what waits for long is cut off."""

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import servers
from tests.engines import free_port

SETTINGS = {"SECRET_KEY": "tests"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    more = {**SETTINGS, "DATA_DIR": str(folder / "data")}
    servers.manage("migrate", **more)
    tokens = servers.manage("examples", **more)
    token = next(line.split()[2] for line in tokens.splitlines() if line.startswith("token service-bot"))
    return folder, more, token


def lease(site, token, *, seconds):
    request = urllib.request.Request(
        f"{site.url}/api/v1/queues/nothing_queue/lease/",
        data=json.dumps({"worker_id": "w", "wait_seconds": seconds}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def is_waited_for(site, threads, token, *, seconds):
    """Begin a request that takes a while, and see that it has come in."""
    waiting = threads.submit(lease, site, token, seconds=seconds)
    with pytest.raises(TimeoutError):
        waiting.result(1)
    return waiting


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_request_at_hand_is_answered_and_no_other_is_taken(prepared, how):
    folder, more, token = prepared
    port = free_port()
    site = servers.start("manage.py", "serve", "--port", str(port), port=port, folder=folder, **more)
    try:
        with ThreadPoolExecutor() as threads:
            waiting = is_waited_for(site, threads, token, seconds=3)

            site.process.send_signal(how)

            assert waiting.result(30) == {"tasks": []}
            assert site.process.wait(20) == 0
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
            pass
        assert site.printed().splitlines() == [f"Serving 127.0.0.1:{port}.", "Stopped."]
    finally:
        site.stop()


@pytest.mark.parametrize(
    "command",
    [("manage.py", "serve", "--port"), ("-m", "daphne", "orchestrator_site.asgi:application", "-v", "0", "-p")],
    ids=["serve", "daphne"],
)
def test_a_request_that_waits_for_long_does_not_hold_up_the_end(prepared, command):
    folder, more, token = prepared
    port = free_port()
    site = servers.start(*command, str(port), port=port, folder=folder, **more)
    try:
        with ThreadPoolExecutor() as threads:
            waiting = is_waited_for(site, threads, token, seconds=30)
            begun = time.monotonic()

            site.process.send_signal(signal.SIGTERM)

            assert site.process.wait(25) == 0
            assert time.monotonic() - begun < 20
            assert isinstance(waiting.exception(30), OSError | urllib.error.URLError)
    finally:
        site.stop()


def test_a_taken_port_is_told_in_a_sentence(prepared):
    _, more, _ = prepared
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(subprocess.CalledProcessError) as refused:
            servers.manage("serve", "--port", str(taken.getsockname()[1]), **more)

    assert "--port" in refused.value.stderr
    assert "Traceback" not in refused.value.stderr
