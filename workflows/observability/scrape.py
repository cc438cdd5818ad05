"""Where Prometheus asks. In a demo anybody may; elsewhere operators, auditors and their tokens."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from workflows.conf import settings
from workflows.models import Person, person_of
from workflows.observability import metrics
from workflows.runtime import tokens


@require_safe
def scrape(request: HttpRequest) -> HttpResponse:
    """This will give all metrics as text."""
    if not settings.DEMO:
        person = _person(request)
        if person is None:
            return _refuse(
                401, "Send Authorization: Bearer TOKEN.", {"WWW-Authenticate": 'Bearer realm="orchestrator"'}
            )
        if not (person.is_operator or person.is_auditor):
            return _refuse(403, "This is for operators and auditors.", {})
    encode, kind = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(metrics.registry), content_type=kind, headers={"Cache-Control": "no-store"})


def _person(request: HttpRequest) -> Person | None:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        token = tokens.recognise(text.strip(), at=timezone.now())
        may_read = token is not None and (not token.scopes or tokens.Scope.READ in token.scopes)
        return token.person if token is not None and may_read else None
    return person_of(request.user) if request.user.is_authenticated else None


def _refuse(status: int, why: str, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(f"{why}\n", status=status, content_type="text/plain; charset=utf-8", headers=headers)
