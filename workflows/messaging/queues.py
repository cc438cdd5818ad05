"""Which queues there are, and how they are declared.

See Note [Queues].
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from amqp.exceptions import AccessRefused, ChannelError, NotFound

logger = logging.getLogger(__name__)

DELIVERY_LIMIT = 50

# Note [Queues]
# ~~~~~~~~~~~~~
# A message to a queue that does not exist would vanish: the default exchange has nowhere to put it. So whoever sends or
# takes messages declares the queues it needs, all durable. Ours, the inbound one, is replicated (`quorum`) where the
# server can, and what the server gives up on goes to one queue of dead letters, `<inbound queue>.dead`, at least once.
# From there it comes to our quarantine (see dead_letters). `reject-publish` is what that rule asks for, and what we
# want anyway: a full queue refuses, and the sender keeps the message.
#
# The queue of a service is the service's: it declares it as it likes. A server refuses to declare one queue in two
# ways, and services that know nothing of us declare theirs `durable` and no more. So that is what we do where nobody
# has yet, in order to keep what is sent before the service is there for the first time; what such queues are like by
# default (quorum, dead letters) is a matter of the virtual host and its policies.
#
# The inbound queue also has a limit of deliveries. It is a net for a message that kills the process that reads it, and
# nothing depends on it: what can't be read or matched is in quarantine after its first delivery, and while the database
# does not answer nothing is taken from the queue.
#
# A queue that exists stays as whoever declared it wants it. One that exists otherwise is said once in the log. A server
# that refuses the arguments (an older one, or another product) gets fewer of them.


def dead_letter_queue(inbound: str) -> str:
    """This will give the name of the queue of dead letters that belongs to an inbound queue."""
    return f"{inbound}.dead"


class Undeclarable(Exception):
    """The server does not let us declare the queue. Declare it, or give our user the right to."""


class Queues:
    """Declares queues, each once for a connection.

    `inbound` is the queue on which messages come in; `kind` is what new queues are where the server can: `quorum` or
    `classic`.
    """

    def __init__(self, inbound: str, *, kind: str = "quorum") -> None:
        self._inbound, self._kind = inbound, kind
        self._declared: set[tuple[int, str]] = set()

    def make_sure_of(self, connection: Any, name: str, *, again: bool = False) -> None:
        """This will declare a queue unless it is there. Raises Undeclarable, and what a broken connection raises."""
        key = (id(connection), name)
        if key in self._declared and not again:
            return
        if not any(_declare(connection, name, arguments) for arguments in self._choices(connection, name)):
            raise Undeclarable(f"The queue {name} does not exist, and the server does not take our declaration.")
        self._declared = {one for one in self._declared if one[0] == id(connection)} | {key}

    def try_to_make_sure_of(self, connection: Any, name: str) -> None:
        """This will declare a queue that we can do without for now, unless it is there or we may not."""
        try:
            self.make_sure_of(connection, name)
        except Undeclarable as error:
            logger.warning("%s", error)

    def _choices(self, connection: Any, name: str) -> list[Mapping[str, Any]]:
        dead = dead_letter_queue(self._inbound)
        quorum = self._kind == "quorum"
        if name == dead:
            # RabbitMQ 4 has a limit of deliveries of its own, and whoever looks at a letter counts as one. To
            # RabbitMQ 3, -1 is no "none" but the lowest limit there is: it would drop what somebody has looked at.
            unlimited = {"x-delivery-limit": -1} if _major(connection) >= 4 else {}
            return [unlimited | {"x-queue-type": "quorum"}, {}] if quorum else [{}]
        if name != self._inbound:
            return [{}]
        letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        limit = {"x-delivery-limit": DELIVERY_LIMIT}
        best = {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        return [letters | limit | best, letters, {}] if quorum else [letters, {}]


def _major(connection: Any) -> int:
    first = str(connection.server_properties.get("version", "")).partition(".")[0]
    return int(first) if first.isdecimal() and connection.server_properties.get("product") == "RabbitMQ" else 0


def _declare(connection: Any, name: str, arguments: Mapping[str, Any]) -> bool:
    """Tell whether the queue is there now; False when the server does not want these arguments."""
    channel = connection.channel()
    try:
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=dict(arguments))
    except AccessRefused as error:
        if _exists(connection, name):
            return True
        raise Undeclarable(
            f"The queue {name} does not exist, and declaring it is refused: {error.reply_text}"
        ) from error
    except ChannelError as error:
        if not _exists(connection, name):
            logger.info("the server does not take %s for the queue %s: %s", arguments, name, error.reply_text)
            return False
        _say_once(name, str(error.reply_text))
    else:
        channel.close()
    return True


def _exists(connection: Any, name: str) -> bool:
    channel = connection.channel()
    try:
        channel.queue_declare(name, passive=True)
    except NotFound:
        return False
    except ChannelError:  # locked by another connection, or not for our eyes: it is there
        return True
    channel.close()
    return True


_said: set[str] = set()


def _say_once(name: str, reason: str) -> None:
    if name not in _said:
        _said.add(name)
        logger.warning("the queue %s exists with other arguments than ours and stays as it is: %s", name, reason)
