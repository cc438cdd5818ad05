"""Where an instance is, which way it goes and why; what its steps changed; how far somebody's work is."""

import pytest

from tests.builders import service, stage, undo, workflow
from tests.steps import flows
from tests.steps.test_flows import AT, alone, go_on
from workflows.engine import commands as c
from workflows.models import StepCallback
from workflows.runtime import callbacks
from workflows.runtime.masking import MASK
from workflows.runtime.reading import instance_json
from workflows.runtime.replay import check_history

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
LOAN = workflow(
    stage("CHECKS", service("reserve", title="Reserve the limit", **undo()), service("score", on_failure="halt"))
)
RESERVE = {"stage_name": "CHECKS", "task_name": "reserve"}


@pytest.fixture
def running(begin):
    return begin(LOAN, amount=84000)


@pytest.fixture
def failed(running, say):
    error = {"code": "consent_expired", "message": "The consent has ended"}
    return say(running, c.CompleteTask(**RESERVE), c.FailTask("CHECKS", "score", error=error))


@pytest.fixture
def stuck(failed, say):
    return say(
        failed, c.RollBackWorkflow(reason="No way"), c.FailTask(**RESERVE, compensation=True, error={"code": "gone"}),
        actor="olivia",
    )  # fmt: skip


@pytest.fixture
def look(browser_of, sound):
    def at(instance, **asked):
        return sound(browser_of("olivia").get(f"/instances/{instance.pk}/", asked))

    return at


@pytest.fixture(autouse=True)
def _clean():
    flows.calls.clear()
    flows.broken.clear()
    flows.addresses.clear()


def test_forward(running, look):
    shown = instance_json(running)

    assert (shown["direction"], shown["reason"]) == ("forward", None)
    assert {one["task_name"]: one["function"] for one in shown["current"]} == {
        "score": "score_queue", "reserve": "reserve_queue",
    }  # fmt: skip
    assert {(one["position"], one["of"], one["direction"]) for one in shown["current"]} == {
        (1, 2, "forward"), (2, 2, "forward"),
    }  # fmt: skip
    html = look(running)
    assert "Forward" in html
    assert "2 tasks at once" in html


def test_what_has_failed_says_so(failed):
    shown = instance_json(failed)

    assert shown["direction"] == "forward"
    assert (shown["reason"]["by"], shown["reason"]["task"]) == ("failure", "CHECKS/score")
    assert shown["reason"]["message"] == "The consent has ended"
    assert [one["state"] for one in shown["current"]] == ["FAILED"]


def test_a_rollback_that_is_stuck_says_where_and_why(stuck, look):
    shown = instance_json(stuck)

    assert (shown["direction"], shown["reason"]["by"], shown["reason"]["actor"]) == ("undoing", "operator", "olivia")
    assert [(one["function"], one["state"], one["attempt"]) for one in shown["current"]] == [
        ("undo_queue", "COMPENSATION_FAILED", 1)
    ]
    html = look(stuck)
    assert "Undoing" in html
    assert "Undone because" in html
    assert shown["reason"]["message"] in html
    before = instance_json(stuck, at=1)
    assert (before["direction"], before["reason"]) == ("forward", None)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (c.SkipTask(**RESERVE, reason="They keep it"), "Its effect stands: “They keep it”"),
        (c.CompleteTaskByHand(**RESERVE, reason="By telephone"), "Undone by hand: “By telephone”"),
    ],
)
def test_the_panel_says_how_an_operator_ended_an_undoing(stuck, say, look, command, says):
    say(stuck, command, actor="olivia")

    html = look(stuck, tab="rollback")

    assert says in html
    assert "Was undone" in html
    assert instance_json(stuck)["current"] == []
    assert check_history(stuck) == []


def test_a_policy_that_turned_it_names_the_error_behind_it(begin, say, look):
    line = workflow(
        stage("S", service("reserve", **undo()), service("pay", "reserve", on_failure="rollback")), workflow_name="Line"
    )
    instance = begin(line, "LINE-1")
    error = {"code": "no_money", "message": "The card is declined"}
    say(instance, c.CompleteTask("S", "reserve"), c.FailTask("S", "pay", error=error))

    shown = instance_json(instance)

    assert (shown["reason"]["by"], shown["reason"]["task"]) == ("policy", "S/pay")
    assert (shown["reason"]["error"]["code"], shown["reason"]["message"]) == ("no_money", "The card is declined")
    assert [one["function"] for one in shown["current"]] == ["undo_queue"]
    html = look(instance)
    assert "Is being undone: The card is declined" in html
    assert "the policy of S/pay" in html


def test_progress_is_shown_while_somebody_is_at_work(people, look):
    alone(flows.provision)
    instance = go_on()
    assert "Progress" not in look(instance)
    token = flows.addresses[0].rstrip("/").rsplit("/", 1)[1]

    callbacks.report(token, {"percent": 40, "message": "<Drilling>"}, at=AT)

    html = look(instance)
    assert 'value="40.0"' in html
    assert "40 % · &lt;Drilling&gt;" in html
    callbacks.call(token, {"rc": 1}, at=AT)
    assert "Drilling" not in look(go_on())
    assert StepCallback.objects.filter(called_at__isnull=False).get().progress


def test_what_each_step_changed(people, look, begin, say):
    instance = begin(LOAN, amount={"net": 100, "tax": [7, 19]})
    say(instance, c.CompleteTask(**RESERVE, output={"amount": {"net": 90, "tax": [7]}, "limit": "<b>"}))
    say(instance, c.CompleteTask(stage_name="CHECKS", task_name="score"))

    html = look(instance, tab="data")

    log = html[html.index("What each step changed") :]
    for words in ("/amount/net", "<del>100</del>", "<ins>90</ins>", "taken away", "not there", "&lt;b&gt;", "Nothing."):
        assert words in log, words
    assert log.index("Score") < log.index("Reserve the limit")
    then = look(instance, tab="data", at=instance.last_sequence - 1)
    assert "What each step changed" in then


def test_the_state_log_goes_back_page_by_page(people, begin, say, browser_of):
    steps = [
        {
            "task_name": f"t{n:02}",
            "task_type": "SERVICE",
            "task_queue": "q",
            "parent_task": [f"t{n - 1:02}"] if n else [],
        }
        for n in range(45)
    ]
    line = {"workflow_name": "Line", "component_name": "L", "stages": [
        {"stage_name": "S", "stage_order": 1, "tasks": steps}]}  # fmt: skip
    instance = begin(line)
    say(instance, *(c.CompleteTask(stage_name="S", task_name=f"t{n:02}", output={"n": n}) for n in range(45)))
    client, seen, before = browser_of("olivia"), [], ""

    while before is not None:
        answer = client.get(
            f"/instances/{instance.pk}/", {"tab": "data", "before": before} if before else {"tab": "data"}
        )
        seen += [(one.node, one.lines[0].before, one.lines[0].after) for one in answer.context["steps"]]
        before = answer.context["older_steps"]

    assert seen == [(f"S/t{n:02}", str(n - 1) if n else "", str(n)) for n in range(44, -1, -1)]


def test_secrets_of_the_state_log_and_of_reasons_are_shown_to_nobody(people, begin, say, look):
    line = workflow(stage("S", service("reserve", **undo()), service("pay", "reserve", on_failure="rollback")))
    instance = begin(line, "LINE-2", password="hunter1")
    say(instance, c.CompleteTask("S", "reserve", output={"password": "hunter2", "box": {"api_key": "hunter3"}}))
    error = {"code": "no", "message": "No", "details": {"token": "hunter4"}}
    say(instance, c.FailTask("S", "pay", error=error))

    for html in (look(instance, tab="data"), look(instance), str(instance_json(instance))):
        assert "hunter" not in html
    assert MASK in look(instance, tab="data")
