"""The pages of activities: the list, one, registering and deregistering, by role."""

import datetime as dt

import pytest
from django.test import Client

from tests.builders import activity, failed, service, stage, workflow
from tests.tasks_ui.conftest import *  # noqa: F403 (people with browsers)
from workflows.models import ActivityRecord, Plugin
from workflows.runtime.registering import register

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
CLAIM = workflow(
    activity("INTAKE", activity="intake"),
    stage("LAST", service("out")),
    workflow_name="Claim",
    search={"country": "/country"},
)
FORM = {
    "activity": "intake", "name": "scan", "phase": "parallel", "way": "task_queue", "target": "scan_queue",
    "mandatory": "1", "changes": "",
}  # fmt: skip


def put(name, phase="parallel", **more):
    way = {} if {"url", "step"} & more.keys() else {"task_queue": f"{name}_queue"}
    register("intake", {"name": name, "phase": phase, **way, **more}, by="scanner", at=AT)


def test_nothing_yet(browser_of, sound):
    assert "No activity yet" in sound(browser_of("adam").get("/activities/"))
    assert browser_of("olivia").get("/activities/nothing/").status_code == 404


def test_the_list_and_one(browser_of, sound, begin, say):
    put("ocr", "pre", title="Read the <text>", system="OCR & Co", regulation="R-30")
    put(
        "tax",
        filter={
            "country": ["IT", {"prefix": "F"}],
            "$or": [{"a": [{"exists": False}]}, {"b": [{"numeric": [">=", 1, "<", 5]}]}],
        },
    )
    put("nice", mandatory=False, before=["tax"], url="https://checks.example.com/", secret="tell nobody")
    put("archive", "post", step="shop.steps.archive")
    begin(CLAIM, "C-1", country="IT")
    say(begin(CLAIM, "C-2", country="IT"), failed("INTAKE/ocr", final=True))
    client = browser_of("adam")

    html = sound(client.get("/activities/"))
    assert ("intake" in html, "Claim" in html, html.count("data-row>")) == (True, True, 1)
    html = sound(client.get("/activities/intake/"))

    assert "Read the &lt;text&gt;" in html
    assert "OCR &amp; Co" in html
    assert "country is “IT” or begins with “F”" in html
    assert "either a is not there, or b ≥ 1 and &lt; 5" in html
    assert "tell nobody" not in html
    assert html.index(">nice<") < html.index(">tax<")
    assert "1 waiting" in html
    assert "1 in error" in html
    assert "C-2" in html
    assert "Registered <b>archive</b>" in html
    assert "Deregister" not in html.replace("Deregistered", "")


def test_who_would_take_part(browser_of, sound):
    put("tax", filter={"country": ["IT"]})
    client = browser_of("adam")

    html = sound(client.get("/activities/intake/", {"attributes": "country=FR\r\nnonsense\r\n=x"}))
    assert "country is &quot;FR&quot;." in html
    assert "Yes" in sound(client.get("/activities/intake/", {"attributes": "country = IT"}))
    assert "is not there" in sound(client.get("/activities/intake/", {"attributes": ""}))


def test_an_operator_registers_changes_and_deregisters(browser_of, sound):
    client = browser_of("olivia")
    assert "Register a plugin" in sound(client.get("/plugins/register/?activity=intake&phase=post"))

    said = client.post(
        "/plugins/register/",
        {**FORM, "filter": '{"country": ["IT"]}', "max_attempts": "2", "reason": "new"},
        follow=True,
    )
    assert "scan is registered" in sound(said)
    row = Plugin.objects.get()
    assert (row.said["filter"], row.said["retry"]) == ({"country": ["IT"]}, {"max_attempts": 2})
    html = sound(client.get("/plugins/register/?activity=intake&plugin=scan"))
    assert "Change scan" in html
    assert "&quot;country&quot;" in html
    change = {
        **FORM,
        "changes": "1",
        "way": "url",
        "target": "https://a.example/",
        "secret": "s",
        "mandatory": "",
        "timeout_seconds": "9",
    }
    assert "scan is changed" in sound(client.post("/plugins/register/", change, follow=True))
    row.refresh_from_db()
    assert (row.secret, row.said["timeout_seconds"], row.said["mandatory"]) == ("s", 9, False)
    assert row.said["retry"]["max_attempts"] == 2
    assert "nothing was changed" in sound(client.post("/plugins/register/", {**change, "secret": ""}, follow=True))
    assert "still wait for it" in sound(client.get("/plugins/deregister/?activity=intake&plugin=scan"))
    gone = client.post(
        "/plugins/deregister/", {"activity": "intake", "plugin": "scan", "reason": "<sold>"}, follow=True
    )
    html = sound(gone)

    assert "Nobody is registered" in html
    assert "&lt;sold&gt;" in html
    assert [one.kind for one in ActivityRecord.objects.order_by("revision")] == [
        "REGISTERED",
        "CHANGED",
        "DEREGISTERED",
    ]
    assert client.get("/plugins/deregister/?activity=intake&plugin=scan").status_code == 404
    assert client.post("/plugins/register/", change).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": ""}, "name is required"),
        ({"activity": ""}, "Name the activity"),
        ({"target": ""}, "may not be empty"),
        ({"way": ""}, "One of task_queue"),
        ({"filter": "{"}, "not the JSON we take"),
        ({"filter": '{"a": [{"like": 1}]}'}, "There is no operator"),
        ({"after": "scan"}, "wait for each other"),
        ({"max_attempts": "many"}, "takes a number"),
        ({"max_attempts": "0"}, "must be between"),
        ({"timeout_seconds": "-1"}, "must be more than"),
        ({"way": "url", "target": "http://localhost/"}, "this machine"),
        ({"phase": "later"}, "is not one of"),
        ({"name": "x\0/y"}, "has no"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(browser_of, sound, wrong, words):
    html = sound(browser_of("olivia").post("/plugins/register/", {**FORM, "title": "<T>", **wrong}), 400)

    assert words in html
    assert "aria-invalid" in html
    assert "&lt;T&gt;" in html
    assert not Plugin.objects.exists()


def test_a_name_that_is_taken(browser_of, sound):
    put("scan", system="other")
    html = sound(browser_of("olivia").post("/plugins/register/", FORM), 409)

    assert "change that one instead" in html


def test_who_sees_and_who_acts(browser_of, people):
    put("scan")
    for name, status in (("adam", 200), ("service-bot", 200), ("fred", 404)):
        assert browser_of(name).get("/activities/intake/").status_code == status
    for name in ("adam", "service-bot", "fred"):
        client = browser_of(name)
        assert client.get("/plugins/register/").status_code == 403
        assert client.post("/plugins/register/", FORM).status_code == 403
        assert client.get("/plugins/deregister/?activity=intake&plugin=scan").status_code == 403
        assert client.post("/plugins/deregister/", {"activity": "intake", "plugin": "scan"}).status_code == 403
    assert Client().get("/activities/intake/").status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(people["olivia"])
    assert strict.post("/plugins/deregister/", {"activity": "intake", "plugin": "scan"}).status_code == 403
    assert Plugin.objects.registered().count() == 1


def test_the_admin_shows_them_and_changes_none(browser_of, begin):
    put("scan", url="https://a.example/", secret="tell nobody")
    begin(CLAIM, "C-1")
    client = browser_of("admin")

    for table in ("activity", "plugin", "activityrecord", "pluginrun"):
        assert client.get(f"/admin/workflows/{table}/").status_code == 200, table
        assert client.get(f"/admin/workflows/{table}/add/").status_code == 403
    said = client.get(f"/admin/workflows/plugin/{Plugin.objects.get().pk}/change/")
    assert said.status_code == 200
    assert "tell nobody" not in said.content.decode()
