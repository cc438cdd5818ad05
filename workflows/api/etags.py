"""Versions of what can be read: ETag, If-Match, If-None-Match."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.http import parse_etags

from workflows.api.problems import Problem
from workflows.models import HumanTask, WorkflowInstance, WorkflowTemplate


def of_instance(instance: WorkflowInstance) -> str:
    """This will change with every event of the instance."""
    return f'"{instance.last_sequence}"'


def of_human_task(task: HumanTask) -> str:
    """This will change with every event of the instance: its context and history are shown with the task."""
    return f'"{task.id.hex[:8]}-{task.instance.last_sequence}"'


def of_template(template: WorkflowTemplate) -> str:
    """This will never change: a published version does not."""
    return f'"{template.fingerprint}"'


def check_if_match(request: HttpRequest, current: str) -> bool:
    """This will tell whether the caller named the version it saw; raises Problem where that is not the current one."""
    header = request.headers.get("If-Match")
    if header is None:
        return False
    seen = parse_etags(header)
    if seen == ["*"]:
        return False
    # Strong comparison: a weak tag never matches.
    if current not in seen:
        raise Problem("precondition_failed", f"The current version is {current}. Read it again, then decide.")
    return True


def is_known(request: HttpRequest, current: str) -> bool:
    """This will tell whether the caller has this version already."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    seen = parse_etags(header)
    return seen == ["*"] or current in [tag.removeprefix("W/") for tag in seen]
