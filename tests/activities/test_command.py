"""`manage.py plugins`."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from workflows.models import ActivityRecord

pytestmark = pytest.mark.django_db
SCAN = {"name": "scan", "phase": "pre", "task_queue": "scan_queue"}


def run(*arguments):
    said = StringIO()
    call_command("plugins", *arguments, stdout=said)
    return said.getvalue().splitlines()


@pytest.fixture
def file(tmp_path):
    def make(said):
        path = tmp_path / "plugin.json"
        path.write_text(said if isinstance(said, str) else json.dumps(said))
        return str(path)

    return make


def test_add_list_and_remove(file):
    assert run("add", "intake", file(SCAN), "--reason", "new") == ["Registered: intake/scan"]
    assert run("add", "intake", file(SCAN)) == ["Unchanged: intake/scan"]
    assert run("add", "intake", file({**SCAN, "mandatory": False, "before": ["z"]})) == ["Changed: intake/scan"]
    run("add", "intake", file({"name": "a", "phase": "pre", "step": "shop.steps.a"}))
    run("add", "other", file(SCAN))

    assert run("list", "intake") == [
        "intake\tpre\tscan\toptional\ttask_queue: scan_queue",
        "intake\tpre\ta\tmandatory\tstep: shop.steps.a",
    ]
    assert len(run("list")) == 3
    assert run("remove", "intake", "scan", "--reason", "sold") == ["Deregistered: intake/scan"]
    assert len(run("list", "intake")) == 1
    lines = ActivityRecord.objects.filter(activity__name="intake").order_by("revision")
    assert [(one.actor, one.reason) for one in lines] == [
        ("manage.py", "new"), ("manage.py", ""), ("manage.py", ""), ("manage.py", "sold"),
    ]  # fmt: skip


def test_what_is_wrong_is_said(file):
    for said, words in ((SCAN | {"phase": "x"}, "/phase: .*bad_value"), ("{", "property name"), ("[]", "a plugin")):
        with pytest.raises(CommandError, match=words):
            run("add", "intake", file(said))
    with pytest.raises(CommandError, match="No such file"):
        run("add", "intake", "nowhere.json")
    with pytest.raises(CommandError, match="No plugin scan"):
        run("remove", "intake", "scan")
    assert run("list") == []
