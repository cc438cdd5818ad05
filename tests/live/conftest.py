"""People and the workflow of the tests of the live updates."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.utils import timezone

from workflows.live import hub as hubs
from workflows.runtime import tokens
from workflows.runtime.publishing import publish_template

TEMPLATE = {
    "workflow_name": "Review",
    "component_name": "LIVE",
    "stages": [
        {
            "stage_name": "WORK",
            "stage_order": 1.0,
            "tasks": [
                {"task_name": "prepare", "task_type": "SERVICE", "task_queue": "prepare_queue"},
                {
                    "task_name": "review",
                    "task_type": "HUMAN",
                    "assigned_to": "reviewers",
                    "parent_task": ["prepare"],
                },
                {"task_name": "file", "task_type": "SERVICE", "task_queue": "file_queue", "parent_task": ["review"]},
            ],
        }
    ],
}
USERS = {"olga": ["operator"], "audra": ["auditor"], "rita": ["reviewers"], "otto": ["others"], "bot": ["api_client"]}


@pytest.fixture
def people(transactional_db: None) -> dict[str, str]:
    """Users with their tokens: an operator, an auditor, a reviewer, somebody else, a program."""
    found = {}
    for username, groups in USERS.items():
        user = get_user_model().objects.create(username=username)
        user.groups.set([Group.objects.get_or_create(name=name)[0] for name in groups])
        found[username] = tokens.issue(user, at=timezone.now())
    return found


@pytest.fixture
def workflow(people: dict[str, str]) -> None:
    """The workflow that the tests start."""
    publish_template(TEMPLATE, by="olga")


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "LOOK_SECONDS", 0.2)
