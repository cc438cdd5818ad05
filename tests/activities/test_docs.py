"""What docs/activities.md shows runs as it is written there."""

from __future__ import annotations

import json
import re
import shlex
import threading
from http.server import ThreadingHTTPServer
from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from tests.activities.called import go
from tests.api.callers import Caller
from tests.tree import ROOT
from workflows.activities.plugin import DELIVERIES, RETRY, TIMEOUT_SECONDS
from workflows.engine import commands as c
from workflows.messaging.calling import MESSAGE_LENGTH
from workflows.models import ActivityRecord, Plugin
from workflows.runtime import tokens
from workflows.runtime.registering import register
from workflows.steps.runner import StepRunner

pytestmark = [pytest.mark.django_db(transaction=True)]
TEXT = (ROOT / "docs" / "activities.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


TEMPLATE, PLUGIN = map(json.loads, blocks("json"))
SERVICE, SCANNER, STEP = blocks("python")


@pytest.fixture
def shell(db: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the commands of a block: those of manage.py, and what curl would send."""
    boss = User.objects.create_superuser("boss")
    caller = Caller(tokens.issue(boss, at=timezone.now()), boss)
    (tmp_path / "fraud-check.json").write_text(blocks("json")[1])
    monkeypatch.chdir(tmp_path)

    def curl(words: list[str]) -> Any:
        said = dict(pairwise(words))
        body = (tmp_path / said["--data"].removeprefix("@")).read_bytes() if "--data" in said else b""
        method, path = said.get("-X", "GET"), words[-1].removeprefix("http://127.0.0.1:8000")
        return caller.call(method, path, raw=body)

    def run(block: str) -> list[Any]:
        answers = []
        for line in block.replace("\\\n", " ").strip().splitlines():
            words = shlex.split(line)
            if words[:2] == ["python", "manage.py"]:
                out = StringIO()
                call_command(*words[2:], stdout=out)
                answers.append(out.getvalue().strip())
            else:
                assert words[0] == "curl"
                answers.append(curl(words[1:]))
        return answers

    return run


def test_it_is_registered_asked_for_and_removed(shell):
    add, ask, remove = blocks("sh")

    said, put = shell(add)
    assert (said, put.status) == ("Registered: document-processing/fraud-check", 200)
    (expected,) = shell(ask)
    assert [(one["name"], one["takes_part"]) for one in expected.json["plugins"]] == [("fraud-check", True)]
    assert shell(remove) == ["Deregistered: document-processing/fraud-check"]

    assert [one.kind for one in ActivityRecord.objects.order_by("revision")] == ["REGISTERED", "DEREGISTERED"]


def test_the_workflow_of_the_page_runs_with_every_delivery(door, caller, settings):
    settings.PLUGIN_HOSTS = ["127.0.0.1"]
    names: dict[str, Any] = {}
    for block in (SERVICE, SCANNER, STEP):
        exec(compile(block, "docs/activities.md", "exec"), names)  # noqa: S102
    names["Scanner"].log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), names["Scanner"])
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    scan = {"name": "scan", "phase": "pre", "url": f"http://127.0.0.1:{server.server_port}/scan"}
    register("document-processing", {**scan, "secret": names["SECRET"].decode()}, by="scanner")
    register("document-processing", PLUGIN, by="fraud-desk")
    register("document-processing", {"name": "archive", "phase": "post", "step": "shop.steps.archive"}, by="archive")
    site = door(TEMPLATE)
    site.at = timezone.now()
    site.start(context={"amount": 60_000, "country": "IT", "documents": 3})

    go(caller)
    assert site.instance().context["pages"] == 3
    (leased,) = site.lease("fraud_check_queue")
    answer = names["services"].handle(leased)
    site.ask(c.CompleteTask("DOCUMENTS", "fraud-check", output=answer["output"]))
    StepRunner(now=timezone.now).run_due()

    assert site.states() == {
        "pay": "SCHEDULED",
        "scan": "COMPLETED",
        "fraud-check": "COMPLETED",
        "archive": "COMPLETED",
    }
    assert site.instance().context | {"forged": True, "shelf": "F"} == site.instance().context
    server.shutdown()
    server.server_close()


def test_the_words_of_the_page_are_those_of_the_code():
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", TEXT, re.MULTILINE)
    keys = {key for cell in table for key in re.findall(r"`(\w+)`", cell)}
    said = {**PLUGIN, "before": ["a"], "after": ["b"], "mandatory": True, "on_failure": "halt", "description": "d"}
    register("document-processing", said, by="olga")

    row = Plugin.objects.get().said
    assert keys == set(row) - {"signed"} | {*DELIVERIES, "secret", "reason"}
    assert (RETRY["max_attempts"], RETRY["delay_seconds"], TIMEOUT_SECONDS) == (3, 5, 3600)
    assert f"at most {MESSAGE_LENGTH} characters" in TEXT
    for name in ("PLUGIN_HOSTS", "PLUGIN_CALL_SECONDS"):
        assert name in (ROOT / "README.md").read_text()
