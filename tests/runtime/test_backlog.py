"""What is not sent has a reason, and the reasons know the sentences of those who could not send it."""

from __future__ import annotations

import pytest

from workflows.messaging.adapters import amqp_sending
from workflows.messaging.queues import Undeclarable
from workflows.runtime.backlog import Why, why_of


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("", Why.WAITING),
        ("The bus does not answer: connection refused", Why.BROKER_DOWN),
        (amqp_sending._NOT_CONFIRMED, Why.BROKER_DOWN),
        (amqp_sending._NO_QUEUE, Why.UNROUTABLE),
        (
            str(Undeclarable("The queue q does not exist, and the server does not take our declaration.")),
            Why.UNROUTABLE,
        ),
        (amqp_sending._REFUSED, Why.REFUSED),
        ("PRECONDITION_FAILED", Why.REFUSED),
    ],
)
def test_a_reason_for_each_sentence(error: str, why: Why) -> None:
    assert why_of(error) is why
