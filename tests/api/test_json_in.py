"""What may be sent, and what is said to the rest: always a problem document, never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.callers import Caller
from workflows.api.base import ApiView
from workflows.models import WorkflowTemplate

BROKEN = {
    "nothing": b" ",
    "half": b'{"a": ',
    "a trailing comma": b'{"a": 1,}',
    "a comment": b'{"a": 1} // no',
    "two documents": b"{} {}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"a": "\xff"}',
    "a key twice": b'{"a": 1, "a": 2}',
    "too deep": b"[" * 100_000,
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "an overflowing number": b'{"a": 1e400}',
    "thousands of digits": b'{"a": ' + b"1" * 5_000 + b"}",
    "NUL": b'{"a": "\\u0000"}',
    "half a pair": b'{"a": "\\ud800"}',
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("path", ["events/", "events/batch/", "instances/", "templates/", "queues/q/lease/"])
def test_what_is_no_json_is_refused(path: str, raw: bytes, callers: dict[str, Caller]):
    said = callers["admin"].post(path, raw=raw)

    assert (said.status, said.code) == (400, "invalid_json")


@pytest.mark.parametrize("value", [None, [], "x", 0, True])
@pytest.mark.parametrize("path", ["events/", "events/batch/", "instances/", "queues/q/lease/"])
def test_a_body_is_an_object(path: str, value: Any, callers: dict[str, Caller]):
    said = callers["admin"].post(path, raw=json.dumps(value).encode())

    assert (said.status, said.code, said.pointers) == (400, "invalid_body", {"": "wrong_type"})


@pytest.mark.parametrize("value", [None, [], "x", 0])
def test_a_template_is_an_object(value: Any, operator: Caller):
    said = operator.post("templates/", raw=json.dumps(value).encode())

    assert (said.status, said.code) == (400, "invalid_template")
    assert said.pointers == {"": "wrong_type"}


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/json; charset=latin-1", "application/jsonx", "x"],
)  # fmt: skip
def test_other_content_types_are_not_taken(kind: str, service: Caller):
    said = service.post("events/", raw=b"{}", Content_Type=kind)

    assert (said.status, said.code) == (415, "unsupported_media_type")


def test_compressed_bodies_are_not_unpacked(service: Caller):
    said = service.post("events/", raw=b"{}", Content_Encoding="gzip")

    assert said.status == 415


def test_a_content_type_may_name_utf_8(service: Caller):
    said = service.post("events/", raw=b"{}", Content_Type='Application/JSON; charset="UTF-8"')

    assert said.code == "invalid_body"


@pytest.mark.parametrize("path", ["events/", "instances/", "templates/"])
def test_too_much_is_too_much(path: str, callers: dict[str, Caller]):
    said = callers["admin"].post(path, raw=b" " * (1024 * 1024 + 1))

    assert (said.status, said.code) == (413, "too_large")


def test_the_limit_itself_is_taken(service: Caller):
    said = service.post("events/", raw=b'{"a": "' + b"x" * (1024 * 1024 - 9) + b'"}')

    assert said.code == "invalid_body"


def test_a_body_without_announced_length_is_read_and_limited(service: Caller, monkeypatch: pytest.MonkeyPatch):
    # As with a chunked body behind an ASGI server: the stream is there, its length is not.
    from workflows.api import bodies

    raw = bodies.raw

    def unannounced(request: Any) -> bytes:
        request.META.pop("CONTENT_LENGTH", None)
        return raw(request)

    monkeypatch.setattr(bodies, "raw", unannounced)

    assert service.post("events/", raw=b"{}").code == "invalid_body"
    assert service.post("events/", raw=b" " * (1024 * 1024 + 1)).code == "too_large"


def test_an_action_needs_no_body(operator: Caller, start: Any):
    instance = start()

    said = operator.post(f"instances/{instance['id']}/suspend/")

    assert said.status == 200
    assert said.json["state"] == "SUSPENDED"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/component_name": "required", "/business_ref_no": "required"}),
        ({"component_name": 5, "business_ref_no": None}, {"/component_name": "wrong_type", "/business_ref_no": "wrong_type"}),
        ({"component_name": " A", "business_ref_no": ""}, {"/component_name": "bad_value", "/business_ref_no": "bad_value"}),
        ({"component_name": "x" * 201, "business_ref_no": "a\nb"}, {"/component_name": "bad_value", "/business_ref_no": "bad_value"}),
        ({"component_name": "A", "business_ref_no": "B", "version": "1"}, {"/version": "wrong_type"}),
        ({"component_name": "A", "business_ref_no": "B", "version": True}, {"/version": "wrong_type"}),
        ({"component_name": "A", "business_ref_no": "B", "version": 1.5}, {"/version": "wrong_type"}),
        ({"component_name": "A", "business_ref_no": "B", "version": 0}, {"/version": "bad_value"}),
        ({"component_name": "A", "business_ref_no": "B", "context": []}, {"/context": "wrong_type"}),
        ({"component_name": "A", "business_ref_no": "B", "on_conflict": "explode"}, {"/on_conflict": "bad_value"}),
    ],
)  # fmt: skip
def test_every_fault_of_a_body_is_pointed_at(body: Any, pointers: dict[str, str], service: Caller):
    said = service.post("instances/", body)

    assert (said.status, said.code) == (400, "invalid_body")
    assert said.pointers == pointers


def test_unknown_keys_are_ignored_and_null_is_absent(service: Caller, publish: Any):
    template = publish()

    said = service.post(
        "instances/",
        {
            "component_name": template["component_name"],
            "business_ref_no": "R",
            "version": None,
            "state": "COMPLETED",
            "id": 7,
        },
    )

    assert said.status == 201
    assert said.json["state"] == "RUNNING"


@pytest.mark.parametrize(
    "path", ["nonsense/", "instances", "instances/x/y/z/", "", "quarantine/abc/", "instances/%00/"]
)
def test_what_does_not_exist_says_so(path: str, operator: Caller):
    said = operator.get(path)

    assert (said.status, said.code) == (404, "not_found")


def test_strangers_learn_nothing_about_addresses(anonymous: Caller):
    assert anonymous.get("nonsense/").status == 401


@pytest.mark.parametrize(
    "name",
    ["0", "-1", str(2**63), "x" * 36, "{id}%0A", "{hex}", "%00", "{{id}}", "é"],
)
def test_an_id_that_is_none_is_missing(name: str, operator: Caller, start: Any):
    identity = start()["id"]
    missing = operator.get("instances/00000000-0000-4000-8000-000000000000/").json

    said = operator.get(f"instances/{name.format(id=identity, hex=identity.replace('-', ''))}/")

    assert said.status == 404
    assert said.json | {"request_id": ""} == missing | {"request_id": ""}


def test_an_id_in_upper_case_is_the_same_id(operator: Caller, start: Any):
    instance = start()

    assert operator.get(f"instances/{instance['id'].upper()}/").json["id"] == instance["id"]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0", "image/*, text/*;q=0.3"])
def test_we_answer_in_json_only(accept: str, operator: Caller):
    said = operator.get("instances/", Accept=accept)

    assert (said.status, said.code) == (406, "not_acceptable")


@pytest.mark.parametrize(
    "accept", ["*/*;q=a", "application/*", "text/html, application/json;q=0.1", "application/problem+json"]
)
def test_json_is_json_by_any_name(accept: str, operator: Caller):
    assert operator.get("instances/", Accept=accept).status == 200


def test_our_own_faults_say_nothing(operator: Caller, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    def explode(view: ApiView) -> None:
        raise RuntimeError("secret: /etc/passwd")

    monkeypatch.setattr("workflows.api.templates.Template.look_up", explode)

    said = operator.get("templates/00000000-0000-4000-8000-000000000000/", X_Request_Id="abc-1")

    assert (said.status, said.code) == (500, "internal_error")
    assert "secret" not in said.text
    assert "Traceback" not in said.text
    assert said.json["request_id"] == "abc-1" == said.headers["x-request-id"]


def test_a_strange_request_id_is_replaced(operator: Caller):
    said = operator.get("me/", X_Request_Id="<script>")

    assert len(said.headers["x-request-id"]) == 32


def test_unicode_is_written_plainly_and_compactly(service: Caller, publish: Any):
    template = publish()

    said = service.post(
        "instances/",
        {"component_name": template["component_name"], "business_ref_no": "Größe 🍕", "context": {"name": "Zoë"}},
    )

    assert "Größe 🍕" in said.text
    assert '"name":"Zoë"' in said.text
    assert said.kind == "application/json"


def test_nothing_is_stored_of_what_is_refused(operator: Caller):
    before = WorkflowTemplate.objects.count()

    assert operator.post("templates/", {"stages": []}).status == 400
    assert (
        operator.post(
            "templates/validate/",
            {"workflow_name": "A", "component_name": "B", "stages": [{"stage_name": "S", "stage_order": 1}]},
        ).status
        == 200
    )

    assert WorkflowTemplate.objects.count() == before
