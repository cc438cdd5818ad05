"""Publishing on a page: checking, every problem with its line, nothing typed is lost."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks_ui.pointers import line_of, lines_of
from tests.builders import human, service, workflow
from workflows.definitions.problems import below
from workflows.models import WorkflowTemplate
from workflows.runtime import publishing

GOOD = workflow(service("pay"))
BAD = """{
  "workflow_name": "Loan <b>",
  "component_name": "LOAN",
  "stages": [
    {"stage_name": "A", "stage_order": 1, "tasks": [
      {"task_name": "pay", "task_type": "SERVICE", "task_queue": "q",
       "parent_task": ["nobody"]},
      {"task_name": "pay", "task_type": "ROBOT"}
    ]}
  ]
}"""


def send(client, text, do="check", **more):
    text = text if isinstance(text, str) else json.dumps(text, indent=2)
    return client.post("/templates/publish/", {"text": text, "do": do, **more})


@pytest.mark.both_databases
def test_only_operators_and_admins(browser_of, sound):
    for name in ("olivia", "admin"):
        sound(browser_of(name).get("/templates/publish/"))
    for name in ("adam", "service-bot", "fred"):
        assert browser_of(name).get("/templates/publish/").status_code == 403
        assert send(browser_of(name), GOOD, "publish").status_code == 403
    assert not WorkflowTemplate.objects.exists()


@pytest.mark.both_databases
def test_checking_stores_nothing(browser_of, sound):
    html = sound(send(browser_of("olivia"), GOOD))
    assert "Nothing is wrong with it" in html
    assert "Graph" in html
    line = lines_of(json.dumps(GOOD, indent=2))["/stages/0/tasks/0"]
    assert f'href="#line-{line}" data-line="{line}"' in html
    assert f'<span id="line-{line}">{line}</span>' in html
    assert not WorkflowTemplate.objects.exists()


@pytest.mark.both_databases
def test_publishing_leads_to_the_version(browser_of, sound):
    client = browser_of("olivia")
    answer = send(client, GOOD, "publish")
    row = WorkflowTemplate.objects.get()
    assert answer["Location"] == f"/templates/{row.pk}/"
    assert (row.published_by, row.version) == ("olivia", 1)
    assert "Workflow has version 1 now" in sound(client.get(answer["Location"]))


@pytest.mark.both_databases
def test_the_same_again_is_no_new_version(browser_of, sound):
    row = publishing.publish_template(GOOD, by="olivia").template
    for do in ("check", "publish"):
        html = sound(send(browser_of("olivia"), GOOD, do))
        assert "This exists already" in html
        assert f"/templates/{row.pk}/" in html
    assert WorkflowTemplate.objects.count() == 1


@pytest.mark.parametrize(("do", "status"), [("check", 200), ("publish", 400)])
def test_every_problem_has_its_line(browser_of, sound, db, do, status):
    html = sound(send(browser_of("olivia"), BAD, do), status)
    for pointer, line in (("/stages/0/tasks/0/parent_task/0", 7), ("/stages/0/tasks/1/task_type", 8)):
        assert pointer in html
        assert f'href="#line-{line}" data-line="{line}"' in html
        assert f'<b id="line-{line}" data-state="failed">{line}</b>' in html
    assert "Loan &lt;b&gt;" in html
    assert '"parent_task": ["nobody"]'.replace('"', "&quot;") in html
    assert not WorkflowTemplate.objects.exists()


def test_what_is_no_json_is_told_with_line_and_column(browser_of, sound, db):
    answer = send(browser_of("olivia"), '{\r\n  "a": 1,\r\n  "b" 2\r\n}')
    html = sound(answer, 400)
    assert "line 3, column 7" in html
    assert 'data-line="3" data-column="7"' in html
    for text in ("", "null", "[]", "3", '"x"', "{}", "\ud800", '{"a": 1e999}', "[" * 200):
        assert send(browser_of("olivia"), text.encode("utf-8", "replace").decode(), "publish").status_code == 400


def test_warnings_are_shown(browser_of, sound, db):
    html = sound(send(browser_of("olivia"), workflow(human("look", to="nobody_of_that_name"))))
    assert "Look at the warnings first" in html
    assert "/stages/0/tasks/0/assigned_to" in html
    assert 'data-state="retrying"' in html


def test_a_file_takes_the_place_of_the_text(browser_of, sound, db):
    file = SimpleUploadedFile("loan.json", b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    html = sound(send(browser_of("olivia"), "{", file=file))
    assert "Nothing is wrong with it" in html
    assert "pay_queue" in html


@pytest.mark.parametrize(("content", "said"), [(b"\xff\xfe", "not UTF-8"), (b" " * 1_048_577, "1,048,577 bytes")])
def test_a_file_that_cannot_be_taken(browser_of, sound, db, content, said):
    file = SimpleUploadedFile("x.json", content)
    html = sound(send(browser_of("olivia"), '{"mine": 1}', "publish", file=file), 400)
    assert said in html
    assert "&quot;mine&quot;" in html


def test_a_new_version_begins_with_the_old_one(browser_of, sound, db):
    row = publishing.publish_template(GOOD, by="olivia").template
    client = browser_of("olivia")
    assert "pay_queue" in sound(client.get(f"/templates/publish/?from={row.pk}"))
    for wrong in ("x", "00000000-0000-0000-0000-000000000000"):
        assert client.get(f"/templates/publish/?from={wrong}").status_code == 404


def test_no_token_no_publishing(people, db):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(people["olivia"])
    assert send(client, GOOD, "publish").status_code == 403
    assert not WorkflowTemplate.objects.exists()


# --- Pointers -----------------------------------------------------------------------------------------------------


def test_lines_of_values():
    text = '{\n "a/b~": [1,\n  {"c": "x\\"}"},\n\n  []],\n "d\\u0065":\n  true,\n "": null}'
    assert lines_of(text) == {
        "": 1, "/a~1b~0": 2, "/a~1b~0/0": 2, "/a~1b~0/1": 3, "/a~1b~0/1/c": 3, "/a~1b~0/2": 5, "/de": 6, "/": 8,
    }  # fmt: skip


def test_what_is_missing_stands_where_it_should_be():
    lines = lines_of('{"a":\n {"b": 1}}')
    assert line_of("/a/c", lines) == 1
    assert line_of("/a/b/x/y", lines) == 2
    assert line_of("/z", lines) == 1
    assert line_of("", {}) == 1


@pytest.mark.parametrize("text", ["", "]", "}{", '{"a"', "[,,]", '{"a" "b": ]', '"', "{{{", "[1 2", '{"\\x": 1}'])
def test_no_text_makes_it_raise(text):
    assert isinstance(lines_of(text), dict)


def test_every_pointer_of_a_template_is_found():
    value = workflow(service("pay", when={"==": [{"var": "a/b"}, "~"]}), service("ship", "pay"))
    lines = lines_of(json.dumps(value, indent=1))

    def pointers(one, pointer=""):
        yield pointer
        inside = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, inner in inside:
            yield from pointers(inner, below(pointer, key))

    assert set(lines) == set(pointers(value))
