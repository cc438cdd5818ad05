"""The rail and the banner by themselves, to be kept up to date."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks_ui import context
from tasks_ui.visitors import signed_in


@signed_in
@require_safe
def rail(request: Any) -> HttpResponse:
    """Show the rail as the page `?here=` has it, and whether the engine is paused."""
    return render(request, "tasks_ui/_shell.html", {"shell": context.shell(request, request.GET.get("here", "")[:40])})
