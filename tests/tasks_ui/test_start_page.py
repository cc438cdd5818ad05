"""Starting on a page: pick, fill in, begin once."""

import pytest

from tests.builders import service, workflow
from workflows.models import WorkflowInstance, WorkflowTemplate
from workflows.runtime import publishing

pytestmark = pytest.mark.both_databases

FLAT = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "title": "Amount", "minimum": 10},
        "country": {"type": "string", "enum": ["IT", "DE"]},
        "csrfmiddlewaretoken": {"type": "string"},
    },
    "required": ["amount"],
}
DEEP = {"type": "object", "properties": {"order": {"type": "object", "required": ["id"]}}, "required": ["order"]}


@pytest.fixture
def publish(people):
    def make(schema=None, **more):
        more = {**more, **({"context_schema": schema} if schema else {})}
        return publishing.publish_template(workflow(service("pay"), **more), by="olivia").template

    return make


def test_operators_only(browser_of, publish):
    row = publish(FLAT)
    for name in ("adam", "service-bot", "fred"):
        for address in ("/start/", f"/start/{row.pk}/"):
            assert browser_of(name).get(address).status_code == 403
        answer = browser_of(name).post(f"/start/{row.pk}/", {"business_ref_no": "R", "context-amount": "20"})
        assert answer.status_code == 403
    assert not WorkflowInstance.objects.exists()


def test_picking_a_workflow(browser_of, publish, sound, monkeypatch):
    monkeypatch.setattr("tasks_ui.start._SIZE", 2)
    client = browser_of("olivia")
    assert "Nothing to start yet" in sound(client.get("/start/"))
    rows = [publish(workflow_name=name) for name in ("Beta", "Alpha", "Gamma")]

    answer = client.get("/start/")
    html = sound(answer)
    assert html.index("Alpha") < html.index("Beta")
    assert f"/start/{rows[1].pk}/" in html
    assert "Gamma" in sound(client.get(f"/start/?older={answer.context['page'].older}"))
    assert "Gamma" in sound(client.get("/start/?q=amm"))
    assert "No workflow is called that" in sound(client.get("/start/?q=zzz"))


def test_starting_with_fields(browser_of, publish, sound):
    row, client = publish(FLAT), browser_of("olivia")
    assert "Amount" in sound(client.get(f"/start/{row.pk}/"))
    assert not WorkflowInstance.objects.exists()

    answer = client.post(f"/start/{row.pk}/", {
        "business_ref_no": " REF 1 ", "context-amount": "20.5", "context-country": "1",
    })  # fmt: skip

    instance = WorkflowInstance.objects.get()
    assert answer["Location"] == f"/instances/{instance.pk}/"
    assert instance.business_ref_no == "REF 1"
    assert instance.context == {"amount": 20.5, "country": "DE"}
    assert instance.started_by == "olivia"
    assert "REF 1 has begun" in sound(client.get(answer["Location"]))


def test_faults_stand_at_their_fields(browser_of, publish, sound):
    row, client = publish(FLAT), browser_of("olivia")
    html = sound(client.post(f"/start/{row.pk}/", {"business_ref_no": "", "context-amount": "<5"}), 400)
    assert "Give it a reference" in html
    assert "Write a number" in html
    assert 'value="&lt;5"' in html
    assert html.count('aria-invalid="true"') == 2
    html = sound(client.post(f"/start/{row.pk}/", {"business_ref_no": "x" * 201, "context-amount": "5"}), 400)
    assert "at most 200 characters" in html
    for wrong in ({"business_ref_no": "a\x00b", "context-amount": "20"}, {"business_ref_no": "R"}):
        sound(client.post(f"/start/{row.pk}/", wrong), 400)
    answer = client.post(
        f"/start/{row.pk}/", {"business_ref_no": "R", "context-amount": "20", "context-csrfmiddlewaretoken": "a\0b"}
    )
    assert answer.status_code == 400
    assert not WorkflowInstance.objects.exists()


def test_what_has_been_started_is_not_started_again(browser_of, publish, sound):
    row, client = publish(FLAT), browser_of("olivia")
    filled = {"business_ref_no": "REF-1", "context-amount": "20"}
    client.post(f"/start/{row.pk}/", filled)
    html = sound(client.post(f"/start/{row.pk}/", {**filled, "context-amount": "30"}), 409)
    instance = WorkflowInstance.objects.get()
    assert "has been started before" in html
    assert f"/instances/{instance.pk}/" in html
    assert 'value="30"' in html
    assert instance.context == {"amount": 20}


def test_a_version_that_is_not_the_newest(browser_of, publish, sound):
    old = publish(FLAT)
    new = publish(FLAT, timeout_seconds=5)
    client = browser_of("olivia")
    html = sound(client.get(f"/start/{old.pk}/"))
    assert f"/start/{new.pk}/" in html
    client.post(f"/start/{old.pk}/", {"business_ref_no": "REF-1", "context-amount": "20"})
    assert WorkflowInstance.objects.get().version == 1


@pytest.mark.parametrize("schema", [None, DEEP], ids=["no schema", "a deep one"])
def test_starting_with_json(browser_of, publish, sound, schema):
    row, client = publish(schema), browser_of("olivia")
    assert "Context, as JSON" in sound(client.get(f"/start/{row.pk}/"))
    client.post(f"/start/{row.pk}/", {"business_ref_no": "REF-1", "context": '{"order": {"id": 7}}'})
    assert WorkflowInstance.objects.get().context == {"order": {"id": 7}}


def test_json_that_is_none(browser_of, publish, sound):
    row, client = publish(DEEP), browser_of("olivia")
    for text, said in (
        ('{"order":\n}', "line 2, column 1"), ("[1]", "The context is an object"), ('{"order": {}}', "/order"),
        ("{}", "/order"), ("", "/order"), ('{"a": 1, "a": 2}', "twice"),
    ):  # fmt: skip
        html = sound(client.post(f"/start/{row.pk}/", {"business_ref_no": "R", "context": text}), 400)
        assert said in html, text
        assert 'aria-describedby="context-e' in html
    assert not WorkflowInstance.objects.exists()


def test_what_is_not_there(browser_of, db):
    client = browser_of("olivia")
    assert client.get("/start/00000000-0000-0000-0000-000000000000/").status_code == 404
    assert client.post("/start/").status_code == 405
    assert not WorkflowTemplate.objects.exists()
