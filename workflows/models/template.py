"""A published version of a workflow: immutable."""

from __future__ import annotations

import uuid
from typing import Self

from django.db import models
from django.db.models import OuterRef, Subquery

from workflows.models.fields import JsonText


class TemplateQuerySet(models.QuerySet["WorkflowTemplate"]):
    """Reads of templates."""

    def of(self, *, workflow_name: str, component_name: str) -> Self:
        """This will keep the versions of one workflow."""
        return self.filter(workflow_name=workflow_name, component_name=component_name)

    def latest(self) -> Self:  # type: ignore[override]
        """This will keep the newest version of each workflow."""
        newest = (
            WorkflowTemplate.objects.filter(
                workflow_name=OuterRef("workflow_name"), component_name=OuterRef("component_name")
            )
            .order_by("-version")
            .values("pk")[:1]
        )
        return self.filter(pk=Subquery(newest))


class WorkflowTemplate(models.Model):
    """One version of a workflow, as it was published. Nothing changes it; a change is a new version."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workflow_name = models.CharField(max_length=200)
    component_name = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=64)
    # Of the definition: which workflows are about subscriptions is asked without reading them all.
    target = models.CharField(max_length=16, blank=True, default="")
    definition = JsonText()
    warnings = JsonText()
    published_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField()

    objects = models.Manager.from_queryset(TemplateQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["component_name", "workflow_name", "version"], name="one_template_per_version"
            ),
        ]
        indexes = [models.Index(fields=["-created_at", "-id"], name="template_newest")]

    def __str__(self) -> str:
        return f"{self.component_name}/{self.workflow_name} v{self.version}"
