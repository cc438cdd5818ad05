"""The page of the engine, and the banner on every page."""

import datetime as dt

import pytest

from tests.builders import human, service, workflow
from workflows.engine.commands import FailTask
from workflows.models import BulkRetry, HumanTask, Schedule, WorkflowInstance
from workflows.runtime import bulk_retry, moments, pausing, schedules

pytestmark = pytest.mark.both_databases

TEMPLATE = workflow(service("pay"), human("check"))


@pytest.fixture(autouse=True)
def _fresh():
    pausing.known.forget()
    yield
    pausing.known.forget()


def test_a_pause_is_on_every_page_until_it_is_over(browser_of, begin, sound):
    instance = begin(TEMPLATE)
    olivia = browser_of("olivia")
    assert olivia.post("/engine/pause/", {"reason": "The <warehouse> moves."}).status_code == 302

    for name, path in (
        ("olivia", "/engine/"), ("adam", "/"), ("fred", "/inbox/"), ("olivia", f"/instances/{instance.pk}/"),
        ("service-bot", "/instances/"), ("fred", "/rail/"),
    ):  # fmt: skip
        html = browser_of(name).get(path).content.decode()
        assert "The engine is paused" in html, path
        assert "by olivia: The &lt;warehouse&gt; moves." in html
    sound(olivia.get("/engine/"))

    assert browser_of("adam").post("/engine/resume/").status_code == 403
    assert olivia.post("/engine/resume/", {"reason": ""}).status_code == 302
    assert "The engine is paused" not in olivia.get("/").content.decode()


def test_a_decision_meanwhile_keeps_what_was_typed(browser_of, begin, sound):
    instance = begin(TEMPLATE)
    task = HumanTask.objects.get(instance=instance)
    fred = browser_of("fred")
    fred.post(f"/tasks/{task.pk}/claim/")
    pausing.pause(by="olivia", reason="The warehouse moves.")

    answer = fred.post(f"/tasks/{task.pk}/complete/", {"comment": "typed with care"})

    assert answer.status_code == 503
    html = answer.content.decode()
    assert "The engine is paused" in html
    assert "typed with care" in html


def test_a_start_meanwhile_is_refused_on_the_page(browser_of, begin):
    template = begin(TEMPLATE).template_id
    pausing.pause(by="olivia", reason="The warehouse moves.")

    answer = browser_of("olivia").post(f"/start/{template}/", {"business_ref_no": "R-9", "context": "{}"})

    assert answer.status_code == 503
    assert 'value="R-9"' in answer.content.decode()


def test_a_pause_needs_a_reason(browser_of, sound):
    html = sound(browser_of("olivia").post("/engine/pause/", {"reason": " "}), 400)

    assert "Say why; every page shows it." in html
    assert browser_of("adam").post("/engine/pause/", {"reason": "x"}).status_code == 403
    assert pausing.standing().pause is None


def test_all_that_failed_is_retried_from_the_page(browser_of, begin, say, sound):
    for n in range(3):
        say(begin(TEMPLATE, f"REF-{n}"), FailTask("S", "pay"))
    olivia = browser_of("olivia")
    listed = sound(olivia.get("/instances/?health=failed&q=REF"))
    assert 'href="/engine/?q=REF#retry"' in listed
    assert "engine/?" not in sound(olivia.get("/instances/?health=failed&version=1"))
    assert "engine/?" not in sound(browser_of("adam").get("/instances/?health=failed"))
    assert "Retry these 3" in sound(olivia.get("/engine/?q=REF"))

    assert olivia.post("/engine/retry-failed/", {"q": "REF-1", "reason": ""}).status_code == 400
    assert olivia.post("/engine/retry-failed/", {"q": "REF-1", "reason": "again"}).status_code == 302
    assert olivia.post("/engine/retry-failed/", {"reason": "again"}).status_code == 409
    while bulk_retry.go_on(moments.now()):
        pass

    assert WorkflowInstance.objects.get(business_ref_no="REF-1").state == "RUNNING"
    html = sound(olivia.get("/engine/"))
    assert "1 of 1, containing REF-1" in html
    assert "retried failed instances" in html
    assert BulkRetry.objects.count() == 1
    olivia.post("/engine/retry-failed/", {"q": "nothing", "reason": "again"})
    assert WorkflowInstance.objects.filter(state="FAILED").count() == 2


def test_schedules_are_shown_and_switched(browser_of, begin, sound):
    begin(TEMPLATE)
    values = {"component_name": TEMPLATE["component_name"], "reference": "{name}-{moment}", "context": {}}
    nightly = schedules.keep(Schedule(name="nightly", cron="30 2 * * *", **values), by="olivia")
    schedules.keep(Schedule(name="often", interval_seconds=900, **values), by="olivia")
    schedules.fire(moments.now() + dt.timedelta(minutes=15, seconds=1))
    html = sound(browser_of("adam").get("/engine/"))
    assert "every 15 minutes" in html
    assert "30 2 * * *" in html
    assert "Started" in html
    assert ">Disable<" not in html

    olivia = browser_of("olivia")
    olivia.post(f"/engine/schedules/{nightly.pk}/", {"do": "disable"})

    assert not Schedule.objects.get(pk=nightly.pk).enabled
    assert "disabled by olivia" in sound(olivia.get("/engine/"))
    assert olivia.post("/engine/schedules/999/", {"do": "enable"}).status_code == 404
    assert browser_of("adam").post(f"/engine/schedules/{nightly.pk}/", {"do": "enable"}).status_code == 403
