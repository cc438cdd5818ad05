"""Several processes: what one commits, the websockets of the other hear."""

import contextlib
import json
import urllib.error
import urllib.request
import uuid

import pytest

from tests import servers
from tests.engines import free_port
from tests.live.wire import Wire

TEMPLATE = {
    "workflow_name": "One step",
    "component_name": "PROCESSES",
    "stages": [
        {
            "stage_name": "WORK",
            "stage_order": 1,
            "tasks": [{"task_name": "one", "task_type": "SERVICE", "task_queue": "one_queue"}],
        }
    ],
}


@contextlib.contextmanager
def two_servers(folder, **addresses):
    """Run two server processes on one database; give their sites and an admin's token."""
    more = {"DATA_DIR": str(folder / "data"), "SECRET_KEY": "tests", **addresses}
    servers.manage("migrate", **more)
    servers.manage(
        "createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com",
        DJANGO_SUPERUSER_PASSWORD="tests", **more,
    )  # fmt: skip
    token = servers.manage("create_api_token", "root", **more).strip()
    path = folder / "template.json"
    path.write_text(json.dumps(TEMPLATE))
    assert "Published" in servers.manage("publish_template", str(path), **more)
    with contextlib.ExitStack() as stack:
        sites = []
        for _ in range(2):
            port = free_port()
            command = ("-m", "daphne", "-p", str(port), "--ping-interval", "1", "--ping-timeout", "2")
            site = servers.start(*command, "orchestrator_site.asgi:application", port=port, folder=folder, **more)
            stack.callback(site.stop)
            sites.append(site)
        yield (*sites, token)
        for site in sites:
            assert "Traceback" not in site.printed()


def start(site, token, reference):
    request = urllib.request.Request(
        f"{site.url}/api/v1/instances/",
        data=json.dumps({"component_name": "PROCESSES", "business_ref_no": reference}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def hears(wire, instance, *, seconds):
    while instance["id"] not in (said := wire.hear(seconds))["changed"]:
        pass
    return said


def test_redis_carries_what_the_other_process_has_committed(tmp_path, redis_url):
    prefix = f"tests-{uuid.uuid4().hex[:8]}"
    with (
        two_servers(tmp_path, REDIS_URL=redis_url, REDIS_PREFIX=prefix) as (one, other, token),
        Wire(one.url, authorization=f"Bearer {token}") as wire,
    ):
        wire.ask("instances")
        # Sooner than the looks, which come every few seconds.
        for number in range(3):
            hears(wire, start(other, token, f"R-{number}"), seconds=1.5)


def test_without_a_channel_layer_between_them_it_takes_a_few_seconds(tmp_path):
    with two_servers(tmp_path) as (one, other, token), Wire(one.url, authorization=f"Bearer {token}") as wire:
        wire.ask("instances")
        hears(wire, start(other, token, "R-1"), seconds=10)

        # A client that has gone deaf: it reads nothing, so it answers no ping.
        with Wire(one.url, authorization=f"Bearer {token}") as deaf:
            deaf.say({"action": "subscribe", "topic": "instances"})
            with pytest.raises(TimeoutError):
                wire.hear(6)
            assert deaf.code() == 1006
        # Whoever answers pings stays.
        hears(wire, start(one, token, "R-2"), seconds=10)
