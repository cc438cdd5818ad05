"""A template is checked, versioned and stored; nothing changes it afterwards."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from workflows.definitions.parsing import parse_template
from workflows.definitions.problems import TemplateWarning
from workflows.definitions.versioning import fingerprint
from workflows.models import WorkflowTemplate
from workflows.models.locking import writing
from workflows.runtime.world import Directory

_TRIES = 10


@dataclass(frozen=True, slots=True)
class Published:
    """The version that stands for the content; `created` is false where the newest version was the same."""

    template: WorkflowTemplate
    created: bool
    warnings: Sequence[Mapping[str, str]]


def publish_template(value: Any, *, by: str, at: dt.datetime | None = None) -> Published:
    """This will store the template as the next version, unless the newest one has the same content.

    Raises InvalidTemplate with every problem.
    """
    warnings = check_template(value)
    mark = fingerprint(value)
    for _ in range(_TRIES):
        try:
            return _store(value, mark, warnings, by=by, at=at or timezone.now())
        except IntegrityError:
            continue  # somebody has just published the version that we were about to
    raise RuntimeError("Too many people publish this workflow at once. Try again.")


def check_template(value: Any) -> Sequence[Mapping[str, str]]:
    """This will check the template and give its warnings; raises InvalidTemplate with every problem."""
    with writing() as database:
        directory = Directory(database)
        parsed = parse_template(value, known_assignee=lambda name: bool(directory.assignee_kind(name)))
    return tuple(_told(warning) for warning in parsed.warnings)


def _store(value: Any, mark: str, warnings: Sequence[Mapping[str, str]], *, by: str, at: dt.datetime) -> Published:
    with writing():
        newest = (
            WorkflowTemplate.objects.of(workflow_name=value["workflow_name"], component_name=value["component_name"])
            .order_by("-version")
            .first()
        )
        if newest is not None and newest.fingerprint == mark:
            return Published(newest, False, warnings)
        template = WorkflowTemplate.objects.create(
            id=uuid.uuid4(),
            workflow_name=value["workflow_name"],
            component_name=value["component_name"],
            version=newest.version + 1 if newest else 1,
            fingerprint=mark,
            target=value.get("target", ""),
            definition=value,
            warnings=list(warnings),
            published_by=by,
            created_at=at,
        )
    return Published(template, True, warnings)


def _told(warning: TemplateWarning) -> dict[str, str]:
    return {"pointer": warning.pointer, "code": warning.code, "message": warning.message}
