"""The orchestrator's side of a broker, played by tests: raw py-amqp, none of our transports."""

import json
import subprocess
import sys
import time
import uuid
from urllib.parse import unquote, urlsplit

import amqp

from tests.tree import ROOT
from workflows.client.testing import start_task


class Broker:
    """Sends work to one queue and reads the answers from another; both are this test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        name = uuid.uuid4().hex[:10]
        self.queue, self.inbound, self.dead = f"client-{name}", f"client-{name}-in", f"client-{name}-in.dead"
        parts = urlsplit(url)
        self._connection = amqp.Connection(
            f"{parts.hostname}:{parts.port or 5672}",
            userid=parts.username or "guest",
            password=parts.password or "guest",
            virtual_host=unquote(parts.path[1:]) or "/",
        )
        self._connection.connect()
        self.channel = self._connection.channel()
        self.channel.auto_decode = False
        self.channel.queue_declare(self.inbound, durable=True, auto_delete=False)
        self.channel.queue_declare(self.dead, durable=True, auto_delete=False)
        self.channel.queue_declare(self.queue, durable=True, auto_delete=False)

    def send(self, *messages, queue=None):
        for message in messages:
            body = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.channel.basic_publish(amqp.Message(body, delivery_mode=2), routing_key=queue or self.queue)

    def read(self, queue=None):
        """Return the next message, or None when there is none now."""
        message = self.channel.basic_get(queue or self.inbound, no_ack=True)
        return None if message is None else message

    def answers(self, count, *, seconds=30.0):
        """Wait for so many answers and return them."""
        found = []
        end = time.monotonic() + seconds
        while len(found) < count:
            message = self.read()
            if message is not None:
                answer = json.loads(message.body)
                assert message.properties["message_id"] == answer["event_id"]
                assert message.properties["content_type"] == "application/json"
                assert message.properties["delivery_mode"] == 2
                found.append(answer)
                continue
            assert time.monotonic() < end, f"{len(found)} answers of {count}: {found}"
            time.sleep(0.01)
        return found

    def waiting(self, queue=None):
        """Return how many messages are ready in the queue, taken ones left out."""
        return self.channel.queue_declare(queue or self.queue, passive=True).message_count

    def close(self):
        for queue in (self.queue, self.inbound, self.dead):
            self.channel.queue_delete(queue)
        self._connection.close()


def work(number=1, **more):
    """Return a StartTask of an instance of its own."""
    return start_task(instance_id=f"instance-{number}", business_ref_no=f"R-{number}", **more)


def until(true, *, seconds=30.0, what="it"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


class Program:
    """tests/client/program.py as a process."""

    def __init__(self, folder, url, queue, inbound="-", *token):
        self.journal = folder / "journal"
        self._printed = folder / f"log-{uuid.uuid4().hex[:6]}"
        self._log = self._printed.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.program", url, queue, inbound, str(self.journal), *token],
            cwd=ROOT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def lines(self):
        """Return what it has written down so far."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def printed(self):
        """Return what it has logged so far."""
        return self._printed.read_text()

    def go(self):
        """Let work end."""
        self.journal.with_suffix(".go").touch()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        self._log.close()
