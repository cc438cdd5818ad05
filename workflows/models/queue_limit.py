"""How fast a queue is fed."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class QueueLimit(models.Model):
    """The pace of one queue: so much work in flight, so many messages a second, or both.

    `next_at` is the moment at which the next message may leave by the rate; `let_out_to` the newest making of all that
    has left the line, so that whatever was made later is known to stand in it.
    """

    queue = models.CharField(max_length=200, primary_key=True)
    max_in_flight = models.PositiveIntegerField(null=True, blank=True)
    max_per_second = models.FloatField(null=True, blank=True)
    next_at = models.DateTimeField(null=True)
    let_out_to = models.DateTimeField()
    changed_by = models.CharField(max_length=150)
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(max_in_flight__gt=0, max_per_second__isnull=True)
                | Q(max_in_flight__isnull=True, max_per_second__gt=0)
                | Q(max_in_flight__gt=0, max_per_second__gt=0),
                name="queue_limit_limits",
            )
        ]

    def __str__(self) -> str:
        said = [f"{self.max_in_flight} in flight"] if self.max_in_flight is not None else []
        said += [f"{self.max_per_second:g} a second"] if self.max_per_second is not None else []
        return f"{self.queue}: {', '.join(said)}"
