"""How programs get in: tokens, and the answers they have had already."""

from __future__ import annotations

import hashlib

from django.conf import settings
from django.db import models

from workflows.models.fields import JsonText


class ApiToken(models.Model):
    """A bearer token of a user; only its SHA-256 is stored. Empty `scopes` means all that the user may do."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=12)
    name = models.CharField(max_length=100, blank=True)
    scopes = JsonText()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user_id}"

    @staticmethod
    def digest_of(token: str) -> str:
        """This will give what is stored of a token."""
        return hashlib.sha256(token.encode()).hexdigest()


class IdempotencyRecord(models.Model):
    """The answer that a caller had for an Idempotency-Key."""

    caller = models.CharField(max_length=150)
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    headers = JsonText(null=True)
    body = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="one_answer_per_key")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_oldest")]

    def __str__(self) -> str:
        return f"{self.caller}/{self.key}"
