"""What instances are found by: one row for each search field that the template declares, there or not."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from workflows.models.fields import ByteText
from workflows.models.instance import WorkflowInstance


class SearchedValue(models.Model):
    """One search field of an instance: its value in the column of its type, or no value at all.

    A row is written with its instance and stays, so that an index knows, too, where a field is absent. The columns
    follow each other in one index: a number is found where `text` is null, and so on.
    """

    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="searched")
    name = ByteText(max_length=50)
    text = ByteText(max_length=200, null=True)
    number = models.FloatField(null=True)
    boolean = models.BooleanField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "name"], name="one_row_per_search_field")]
        indexes = [models.Index(fields=["name", "text", "number", "boolean", "instance"], name="search_by_value")]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.name}"


IS_ABSENT = Q(text__isnull=True, number__isnull=True, boolean__isnull=True)
IS_PRESENT = Q(text__isnull=False) | Q(number__isnull=False) | Q(boolean__isnull=False)
