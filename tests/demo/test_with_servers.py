"""The demo on real servers in place of its embedded parts: PostgreSQL, RabbitMQ, Redis."""

import json
import signal
import time
import uuid

import pytest
from kombu import Connection

from tests import servers
from tests.demo.test_demo import LIVELY, get, post, until
from tests.live.wire import Wire


@pytest.fixture
def addresses(database_url, rabbitmq_url, redis_url):
    return {
        "DATABASE_URL": database_url,
        "BROKER_URL": rabbitmq_url,
        "REDIS_URL": redis_url,
        # Others use these servers, too.
        "REDIS_PREFIX": f"tests-{uuid.uuid4().hex[:8]}",
        "INBOUND_QUEUE": f"tests-{uuid.uuid4().hex[:8]}",
    }


@pytest.mark.timeout(180)
def test_life_goes_on_over_real_servers(tmp_path, addresses):
    with servers.demo(tmp_path, *LIVELY, **addresses) as site:
        with Wire(site.url, authorization=f"Bearer {site.tokens['olivia']}") as wire:
            wire.ask("instances")
            until(lambda: len(get(site, "instances/?limit=200")["results"]) > 40, what="the first start after the past")
            # Started now, it goes to the kitchen and back over the broker.
            mine = post(
                site, "instances/", {"component_name": "ITALIAN", "business_ref_no": "MINE"}, user="service-bot"
            )
            until(lambda: get(site, f"instances/{mine['id']}/")["business_status"], what="the order's confirmation")
            end = time.monotonic() + 10
            while mine["id"] not in wire.hear()["changed"]:
                assert time.monotonic() < end
        commands = get(site, f"instances/{mine['id']}/commands/")["results"]
        assert commands[0]["state"] == "SENT"
        assert site.stop(signal.SIGINT) == 0
        assert "Traceback" not in site.printed()

    agreed = servers.manage("check_history", SECRET_KEY="tests", DATABASE_URL=addresses["DATABASE_URL"])
    assert "agree with their history" in agreed


def test_a_service_of_ones_own_works_over_the_broker(tmp_path, addresses):
    with servers.demo(tmp_path, **addresses) as site, Connection(addresses["BROKER_URL"]) as connection:
        post(site, "instances/", {"component_name": "ITALIAN", "business_ref_no": "R-1"}, user="service-bot")
        queue = connection.SimpleQueue("confirm_order_queue")

        message = queue.get(timeout=10)
        task = json.loads(message.body)
        while task["business_ref_no"] != "R-1":
            message.ack()
            message = queue.get(timeout=10)
            task = json.loads(message.body)
        assert message.properties["message_id"] == task["message_id"]
        keys = ("business_ref_no", "component_name", "stage_name", "task_name", "task_type", "attempt")
        result = {**{key: task[key] for key in keys}, "event_name": "TaskCompleted", "output": {"eta": 20}}
        answers = connection.Producer(routing_key=addresses["INBOUND_QUEUE"])
        answers.publish(b"{bad", content_type="application/json", content_encoding="utf-8")
        answers.publish(result)
        message.ack()

        (instance,) = get(site, "instances/?business_ref_no=R-1")["results"]
        until(
            lambda: get(site, f"instances/{instance['id']}/")["business_status"] == "ORDER CONFIRMED",
            what="the confirmation",
        )
        assert site.stop(signal.SIGTERM) == 0
        queue.close()
