"""Steps that wait until somebody outside calls back."""

import datetime as dt

import pytest

from tests.steps import flows
from tests.steps.test_flows import AT, alone, error, go_on, started, states
from workflows.engine.commands import RollBackWorkflow
from workflows.models import LoggedEvent, StepCallback
from workflows.runtime import callbacks, listeners, pausing
from workflows.runtime.asking import Asked
from workflows.runtime.deadlines import fire_due
from workflows.runtime.handling import handle
from workflows.runtime.reading import instance_json
from workflows.steps import callbackstep, step

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _clean():
    flows.calls.clear()
    flows.broken.clear()
    flows.addresses.clear()


@pytest.fixture
def say(client):
    def said(address, body, progress=False):
        path = address + ("progress/" if progress else "")
        response = client.post(path, body, content_type="application/json")
        return response.status_code, response.json()

    return said


def test_it_waits_for_the_call_and_goes_on_with_what_is_said(say):
    alone(flows.provision, order="A-1")
    instance = go_on()
    assert states() == {"provision_the_port": "WAITING"}
    (address,) = flows.addresses
    assert address.startswith("/api/v1/callbacks/")

    assert say(address, {"percent": 40}, progress=True) == (200, {"accepted": True})
    assert say(address, '"half done"', progress=True)[0] == 200
    shown = instance_json(instance)["stages"][0]["tasks"][0]
    assert shown["progress"] == "half done"
    assert shown["progress_at"]
    assert say(address, {"rc": 0, "port": "ge-0/0/1"}) == (200, {"accepted": True})

    instance = go_on()
    assert instance.state == "COMPLETED"
    assert instance.context == {
        "order": "A-1", "asked": True, "provisioned": {"rc": 0, "port": "ge-0/0/1"}, "port": "ge-0/0/1"
    }  # fmt: skip
    # Whoever has the address has it from the step alone.
    token = address.rstrip("/").rsplit("/", 1)[1]
    assert not any(token in str(event.data) for event in LoggedEvent.objects.all())
    assert not any(token in str(row.__dict__) for row in StepCallback.objects.all())


def test_an_address_is_good_for_one_call(say):
    alone(flows.provision)
    go_on()
    (address,) = flows.addresses
    assert say(address, {"rc": 0, "port": "p"})[0] == 200

    for progress in (False, True):
        status, problem = say(address, {"rc": 1}, progress=progress)
        assert (status, problem["code"]) == (409, "attempt_closed")
    assert go_on().context["provisioned"]["rc"] == 0


@pytest.mark.parametrize("body", ["[]", "3", '"text"', "null", "{"])
def test_what_is_no_object_is_refused_and_changes_nothing(say, body):
    alone(flows.provision)
    go_on()
    (address,) = flows.addresses

    status, problem = say(address, body)

    assert status == 400
    assert problem["code"] in ("invalid_body", "invalid_json")
    assert StepCallback.objects.get().called_at is None


def test_an_address_that_nobody_was_given_leads_nowhere(say, client):
    assert say("/api/v1/callbacks/nothing/", {})[0] == 404
    assert client.get("/api/v1/callbacks/nothing/").status_code == 401
    headers = {"Idempotency-Key": "k"}
    assert client.post("/api/v1/callbacks/x/", {}, "application/json", headers=headers).status_code == 404


def test_a_result_that_is_not_accepted_fails_and_the_next_attempt_has_another_address(say):
    alone(flows.provision)
    go_on()
    say(flows.addresses[0], {"rc": 7})

    go_on()

    assert states() == {"provision_the_port": "WAITING"}
    first, second = flows.addresses
    assert first != second
    assert say(first, {"rc": 0, "port": "late"})[0] == 409
    assert say(second, {"rc": 0, "port": "p"})[0] == 200
    assert go_on().context["port"] == "p"


def test_nobody_calls_in_time(say):
    alone(flows.provision)
    go_on()
    late = AT + dt.timedelta(seconds=600)
    assert fire_due(late) == 1
    go_on(late)

    first, second = flows.addresses
    assert say(first, {"rc": 0, "port": "late"})[0] == 409
    assert say(second, {"rc": 0, "port": "p"})[0] == 200
    assert go_on(late).state == "COMPLETED"


def test_an_action_that_fails_has_promised_nothing(say):
    flows.broken.add("provision")
    alone(flows.provision)

    assert go_on().state == "FAILED"

    assert error("provision_the_port")["code"] == "LookupError"
    assert StepCallback.objects.count() == 0
    assert all(say(address, {})[0] == 404 for address in flows.addresses)


def test_the_address_is_of_this_site_where_it_has_a_name(settings):
    settings.PUBLIC_URL = "https://flows.example.org/"
    alone(flows.provision)
    go_on()
    assert flows.addresses[0].startswith("https://flows.example.org/api/v1/callbacks/")


def test_a_call_while_the_engine_is_paused_is_refused_and_may_be_made_again(say):
    pausing.known.forget()
    alone(flows.provision)
    go_on()
    (address,) = flows.addresses
    pausing.pause(by="olivia", reason="The warehouse moves.")

    status, problem = say(address, {"rc": 0, "port": "ge-0/0/1"})

    assert (status, problem["code"]) == (503, "engine_paused")
    assert say(address, {"percent": 40}, progress=True)[0] == 200
    pausing.resume(by="olivia")
    assert say(address, {"rc": 0, "port": "ge-0/0/1"})[0] == 200
    assert go_on().state == "COMPLETED"


@callbackstep("Answer the whole state")
def whole(state: dict, callback_url: str) -> dict:
    flows.addresses.append(callback_url)
    state["asked"] = True
    return state


def test_a_step_that_answers_the_whole_state_gives_no_address_away(say):
    alone(whole, order="A-1")
    go_on()
    assert say(flows.addresses[0], {"rc": 0})[0] == 200

    assert go_on().context == {"order": "A-1", "asked": True, "callback_result": {"rc": 0}}

    assert not any(flows.addresses[0] in str(event.data) for event in LoggedEvent.objects.all())


def test_what_is_called_back_cannot_undo_and_says_so():
    with pytest.raises(TypeError, match="let that answer Waiting"):
        step("Do it", name="tests.undone_by_call", compensate=whole)
    undone = {"task_name": "a", "task_type": "STEP", "step": flows.gift.name, "compensate": {"step": whole.name}}
    stages = [{"stage_name": "S", "stage_order": 1, "tasks": [undone, {"task_name": "b", "task_type": "HUMAN"}]}]
    instance = started({"workflow_name": "Undone", "component_name": "FLOWS", "stages": stages})
    go_on()

    handle(Asked(RollBackWorkflow(reason="no"), instance.pk, actor="olga"), at=AT)

    assert go_on().state == "ROLLBACK_FAILED"
    failed = LoggedEvent.objects.get(event="CompensationFailed").data["error"]
    assert failed["code"] == "called_back_undoing"


def test_who_follows_the_instance_is_told_of_progress(say):
    alone(flows.provision)
    instance = go_on()
    (address,) = flows.addresses
    told = []
    unsubscribe = listeners.subscribe(told.append)
    try:
        say(address, {"percent": 40}, progress=True)
    finally:
        unsubscribe()

    (change,) = [change for one in told for change in one.changes]
    assert (change.instance_id, change.events, change.last_sequence) == (instance.pk, (), instance.last_sequence)
    assert change.heard
    assert change.tasks


@pytest.mark.parametrize(
    ("said", "percent", "text"),
    [
        ("half done", None, "half done"),
        ({"percent": 40, "message": "Drilling"}, 40.0, "Drilling"),
        ({"percent": 0}, 0.0, ""),
        ({"percent": 140, "message": "Overdone"}, None, "Overdone, percent: 140"),
        ({"percent": True}, None, "percent: True"),
        ({"phase": "two"}, None, "phase: two"),
        (None, None, ""),
    ],
)
def test_progress_is_a_text_or_a_percentage_with_one(said, percent, text):
    assert callbacks.progress_told(said) == (percent, text)
