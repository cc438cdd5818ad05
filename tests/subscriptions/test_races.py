"""Two processes race for one subscription: one holds it, the other is told so. There is no third outcome."""

import os
import subprocess
import sys

import pytest
from django.db import connections, transaction

from tests.subscriptions import races
from tests.subscriptions.conftest import AT
from tests.together import together
from workflows.engine.commands import CancelWorkflow
from workflows.models import Subscription
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.subscriptions import unlock

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ROUNDS = int(os.environ.get("RACE_ROUNDS", "60"))


def raced(nodes, tmp_path, pairs):
    connections.close_all()
    found = races.run([[str(key) for key in pair] for pair in pairs], tmp_path)
    assert found == {"one holds it": len(pairs)}
    held, running = races.left_behind()
    assert held == 0
    assert running == 0


def test_two_processes_race_for_one_subscription(nodes, tmp_path):
    node = nodes.make()
    raced(nodes, tmp_path, [(node.pk, node.pk)] * ROUNDS)


def test_two_processes_race_for_a_parent_and_its_child(nodes, tmp_path):
    parent, child = nodes.make("Parent"), nodes.make("Child")
    nodes.run("Attach", parent.pk, other=str(child.pk))
    raced(nodes, tmp_path, [(parent.pk, child.pk)] * ROUNDS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.only_on_sqlite
def test_a_thousand_rounds_on_postgresql(postgresql_url):
    where = f"{__file__}::test_two_processes_race_for_one_subscription"
    # The child makes a folder of its own, and is no process of this run's xdist.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_DATA_DIR"))
    }
    run = subprocess.run(
        [sys.executable, "-m", "pytest", where, "-p", "no:cacheprovider", "-p", "no:xdist", "--quiet", "--timeout=580"],
        env={**environment, "TEST_DATABASE_URL": postgresql_url, "RACE_ROUNDS": "1000"},
        capture_output=True, text=True, timeout=590, check=False,
    )  # fmt: skip

    assert "1 passed" in run.stdout, run.stdout[-5000:]


def test_many_starts_at_once_of_many_workflows(nodes):
    made = [nodes.make(f"N{number}") for number in range(3)]

    for _ in range(4):
        answers = together(
            *(lambda node=node, lane=lane: nodes.start(races.TITLES[lane % 2], node.pk, name=f"{lane}")
              for node in made for lane in range(4))
        )  # fmt: skip

        assert sum(answer.applied for answer in answers) == 3
        assert {answer.code for answer in answers if not answer.applied} == {"subscription_held"}
        for answer in answers:
            if answer.applied:
                handle(Asked(CancelWorkflow(reason="over"), target=answer.instance.id, actor="tests"), at=AT)


def test_identical_starts_at_once_make_one_instance_and_no_refusal(nodes):
    node = nodes.make()
    asked = nodes.asked("Modify node", subscription_id=str(node.pk), name="Berlin")

    answers = together(*[lambda: handle(asked, at=AT)[0]] * 6)

    assert sum(answer.created for answer in answers) == 1
    assert all(answer.applied for answer in answers), answers
    assert len({answer.instance.id for answer in answers}) == 1


def test_batches_in_each_others_order_do_not_wait_in_a_circle(nodes):
    made = [nodes.make(f"N{number}") for number in range(6)]

    def batch(rows):
        return handle(*(nodes.asked("Visit", subscription_id=str(row.pk)) for row in rows), at=AT)

    one, other = together(lambda: batch(made), lambda: batch(made[::-1]))

    assert [answer.applied for answer in one] != [answer.applied for answer in other]
    assert sum(answer.applied for answer in (*one, *other)) == 6


def test_unlocking_and_ending_at_once(nodes):
    node = nodes.make()
    for _ in range(6):
        holder = nodes.start("Visit", node.pk).instance.id
        ended, unlocked = together(
            lambda holder=holder: handle(Asked(CancelWorkflow(), target=holder, actor="tests"), at=AT)[0],
            lambda: unlock(node.pk, by="olivia", reason="impatience"),
        )
        assert ended.applied
        assert unlocked.code in (None, "subscription_held")
        assert Subscription.objects.get(pk=node.pk).in_sync


@pytest.mark.only_on_postgresql
def test_nobody_waits_for_a_long_step_to_be_told_no(nodes):
    node = nodes.make()
    held = nodes.start("Visit", node.pk)
    with transaction.atomic():  # As while a step of the holder runs, which has changed it.
        Subscription.objects.select_for_update().get(pk=node.pk)

        refused, beside = together(
            lambda: nodes.start("Modify node", node.pk, name="Berlin"), lambda: nodes.start("Validate node", node.pk)
        )

    assert (refused.code, beside.applied) == ("subscription_held", True)
    assert refused.details["holder"]["instance_id"] == str(held.instance.id)
