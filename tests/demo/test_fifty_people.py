"""Fifty people decide one task in the same moment: one of them does, and the others are told who."""

import json
import threading
import urllib.error
import urllib.request
from collections import Counter

import pytest

from tests import servers

PEOPLE = 50
MAKE = f"""
from django.contrib.auth.models import Group, User
from django.utils import timezone
from workflows.runtime import tokens
finance = Group.objects.get(name="finance")
for number in range({PEOPLE}):
    user = User.objects.create_user(f"person-{{number}}")
    user.groups.add(finance)
    print("token", user.username, tokens.issue(user, at=timezone.now(), name="test"))
"""
DECIDE = {
    "workflow_name": "Decide", "component_name": "FIFTY",
    "stages": [{"stage_name": "S", "stage_order": 1, "tasks": [
        {"task_name": "approve", "task_type": "HUMAN", "assigned_to": "finance", "title": "Approve",
         "outcomes": [{"name": "approve", "label": "Approve"}, {"name": "reject", "label": "Reject", "effect": "fail"}]},
    ]}],
}  # fmt: skip


def ask(site, path, body, token):
    request = urllib.request.Request(
        f"{site.url}/api/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_one_decides_and_the_others_are_told_who(tmp_path, kind, request):
    more = {"DATABASE_URL": request.getfixturevalue("database_url")} if kind == "postgresql" else {}
    with servers.demo(tmp_path, **more) as site:
        settings = more or {"DATABASE_URL": f"sqlite:///{tmp_path}/data/orchestrator.sqlite3"}
        made = servers.manage("shell", "-c", MAKE, SECRET_KEY="x" * 60, DATA_DIR=str(tmp_path / "data"), **settings)
        people = dict(line.split()[1:] for line in made.splitlines() if line.startswith("token "))
        assert len(people) == PEOPLE
        operator = site.tokens["admin"]
        assert ask(site, "templates/", DECIDE, operator)[0] == 201
        started = ask(site, "instances/", {"component_name": "FIFTY", "business_ref_no": "F-1"}, operator)[1]
        tasks = ask(site, "human-tasks/?limit=200", None, operator)[1]["results"]
        (task,) = [task for task in tasks if task["business_ref_no"] == "F-1"]

        answers, line = {}, threading.Barrier(PEOPLE)

        def decide(name, token, number):
            line.wait()
            outcome = "approve" if number % 2 else "reject"
            answers[name] = ask(
                site, f"human-tasks/{task['id']}/complete/", {"outcome": outcome, "comment": "No"}, token
            )

        threads = [
            threading.Thread(target=decide, args=(name, token, number))
            for number, (name, token) in enumerate(people.items())
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

        assert Counter(status for status, _ in answers.values()) == {200: 1, 409: PEOPLE - 1}
        (winner,) = (name for name, (status, _) in answers.items() if status == 200)
        assert all(winner in json.dumps(body) for status, body in answers.values() if status == 409)
        history = ask(site, f"instances/{started['id']}/history/?limit=200", None, operator)[1]["results"]
        decided = [event for event in history if event["event"] in ("TaskCompleted", "TaskFailed")]
        assert [event["actor"] for event in decided] == [winner]
