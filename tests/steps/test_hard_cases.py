"""Steps that answer what cannot be kept, wait for each other's rows, or stand behind broken ones."""

import re
import threading
import uuid

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.steps import flows
from tests.steps.test_flows import AT, alone, error, go_on, states
from tests.together import together
from workflows.engine.commands import StartWorkflow
from workflows.messaging.calling import Caller
from workflows.models import LoggedEvent, WorkflowInstance
from workflows.runtime import leasing, queues
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history
from workflows.steps import Failed, Skipped, StepTask, TurnRound, Waiting, guard, step
from workflows.steps import runner as runner_module
from workflows.steps.runner import StepRunner, run_step

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _clean():
    flows.calls.clear()
    flows.broken.clear()


# --- What cannot be kept ------------------------------------------------------------------------------------------

SAYS = {
    "a set to remember": (lambda: Waiting("x", memory={"a": {1}}), "not_json"),
    "much to remember": (lambda: Waiting("x", memory="x" * 300_000), "memory_too_large"),
    "no name to wait for": (lambda: Waiting(object()), "bad_outcome"),
    "an endless name to wait for": (lambda: Waiting("x" * 201), "bad_outcome"),
    "a set for details": (lambda: Failed("late", details={1}), "late"),
    "a code that is none": (lambda: Failed(7, "seven"), "7"),
    "half a letter": (lambda: {"a": "\ud800"}, "not_json"),
    "half a letter of a key": (lambda: {"a": {"\ud800": 1}}, "not_json"),
    "NUL": (lambda: {"a": ["\x00"]}, "not_json"),
    "half a letter in a message": (lambda: Failed("late", "because \ud800\x00"), "late"),
    "nothing that anybody knows": (lambda: 7, "bad_outcome"),
    "a mountain of levels": (lambda: _nested(5_000), "RecursionError"),
}


def _nested(levels):
    whole = {}
    for _ in range(levels):
        whole = {"a": whole}
    return whole


@step(name="tests.says")
def says(what):
    return SAYS[what][0]()


@pytest.mark.parametrize("what", SAYS)
def test_whatever_a_step_says_its_attempt_comes_to_an_end(what):
    alone(says, what=what)

    assert go_on().state == "FAILED"

    assert error("says")["code"] == SAYS[what][1]
    error("says")["message"].encode()


@step(name="tests.blames")
def blames():
    raise LookupError("of \x00" + "x" * 5_000)


def test_what_an_exception_says_is_kept_in_readable_form():
    alone(blames)

    assert go_on().state == "FAILED"

    message = error("blames")["message"]
    assert message.startswith("of \N{REPLACEMENT CHARACTER}xx")
    assert len(message) == 2_000


@step(name="tests.idle")
def idle():
    return Skipped("Sunday \ud800")


@guard("tests.speechless")
def speechless(seen):
    return TurnRound("No \ud800\x00")


def test_reasons_are_kept_in_readable_form(settings):
    alone(idle)
    assert go_on().state == "COMPLETED"
    assert LoggedEvent.objects.get(event="TaskSkipped").data["reason"] == "Sunday ?"


def test_a_guards_reason_is_kept_in_readable_form(settings):
    settings.STEP_OBSERVERS = ["tests.speechless"]
    alone(idle)
    assert go_on().state == "ROLLED_BACK"
    assert LoggedEvent.objects.get(event="RollbackStarted").data["reason"] == "No ?\N{REPLACEMENT CHARACTER}"


# --- Side by side -------------------------------------------------------------------------------------------------


def begun(does, *refs, **context):
    task = {"task_name": "t", "task_type": "STEP", "step": does}
    stage = {"stage_name": "S", "stage_order": 1, "tasks": [task]}
    publish_template({"workflow_name": does, "component_name": "HARD", "stages": [stage]}, by="tests", at=AT)
    asked = [
        Asked(StartWorkflow(ref, context={**context, "ref": ref}), Reference("HARD", ref, does), actor="tests")
        for ref in refs
    ]
    return [answer.instance.id for answer in handle(*asked, at=AT)]


met = threading.Barrier(2)
tried: list[str] = []


@step(name="tests.crossing")
def crossing(task: StepTask, ref: str):
    tried.append(ref)
    names = ["left", "right"] if ref == "A" else ["right", "left"]
    first, second = names
    Group.objects.filter(name=first).select_for_update().get()
    if len(tried) <= 2:
        met.wait(30)
    Group.objects.filter(name=second).select_for_update().get()


@pytest.mark.only_on_postgresql
@pytest.mark.django_db(transaction=True)
def test_two_steps_that_wait_for_each_other_fail_nobodys_attempt():
    tried.clear()
    Group.objects.bulk_create([Group(name="left"), Group(name="right")])
    keys = begun("tests.crossing", "A", "B")

    together(
        *(
            lambda key=key: run_step(key, stage_name="S", task_name="t", compensation=False, at=AT)
            for key in keys
        )
    )  # fmt: skip

    assert len(tried) == 3, "one of them was tried again, as a whole"
    for instance in WorkflowInstance.objects.all():
        assert (instance.state, check_history(instance)) == ("COMPLETED", [])
    assert not LoggedEvent.objects.filter(event="TaskFailed").exists()


@step(name="tests.impatient")
def impatient():
    Group.objects.filter(name="left").select_for_update(nowait=True).get()


@pytest.mark.only_on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_lock_that_a_step_does_not_want_to_wait_for_fails_its_attempt():
    Group.objects.create(name="left")
    (key,) = begun("tests.impatient", "A")
    with transaction.atomic():
        Group.objects.select_for_update().get(name="left")
        together(lambda: run_step(key, stage_name="S", task_name="t", compensation=False, at=AT))

    assert states() == {"t": "FAILED"}
    assert error("t")["code"] == "OperationalError"


def test_however_many_steps_cannot_be_run_at_all_they_hold_nobody_up(monkeypatch):
    broken = set(begun("tests.steps.flows.gift", *(f"BROKEN {number}" for number in range(8))))
    begun("tests.steps.flows.gift", "FINE")
    real = runner_module.run_step

    def run(instance: uuid.UUID, **more):
        if instance in broken:
            raise RuntimeError("a broken row")
        real(instance, **more)

    monkeypatch.setattr(runner_module, "run_step", run)
    pause = StepRunner(now=lambda: AT).run_due()

    assert WorkflowInstance.objects.get(business_ref_no="FINE").state == "COMPLETED"
    assert pause, "they are tried again, after a pause"


# --- Looking for work ---------------------------------------------------------------------------------------------


@pytest.mark.only_on_sqlite
@pytest.mark.parametrize("look", [
    lambda: StepRunner(now=lambda: AT).run_due(),
    lambda: leasing.lease("q", worker_id="w", max_tasks=5, lease_seconds=60, actor="bot", at=AT),
    lambda: Caller(now=lambda: AT)._queues(),
    lambda: (queues.known_names(), queues.waiting("q", at=AT)),
])  # fmt: skip
def test_whoever_looks_for_work_looks_at_what_is_on_offer_only(look):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        look()

    found = [one["sql"] for one in queries if re.search(r"FROM .?workflows_taskinstance\b", one["sql"])]
    assert found
    with connection.cursor() as cursor:
        for sql in found:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}".replace("%", "%%"))
            plan = "\n".join(row[-1] for row in cursor.fetchall())
            assert "task_on_offer" in plan, plan
            assert "SCAN workflows_taskinstance" not in plan
