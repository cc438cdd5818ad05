"""Messages as the orchestrator sends them, for tests of services.

services.handle(start_task(context={"size": "large"}))
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from workflows.client.tasks import CANCEL, COMPENSATE, START


def start_task(*, context: Mapping[str, Any] | None = None, attempt: int = 1, **more: Any) -> dict[str, Any]:
    """This will make a StartTask; `more` are other keys of the message, or extra fields of the task."""
    return {
        "business_ref_no": "TEST-1",
        "component_name": "TESTS",
        "workflow_name": "Test",
        "event_name": START,
        "stage_name": "STAGE",
        "task_name": "task",
        "task_type": "SERVICE",
        "attempt": attempt,
        "message_id": str(uuid.uuid4()),
        "instance_id": "00000000-0000-7000-8000-000000000001",
        "context": dict(context or {}),
        **more,
    }


def compensate_task(*, output: Any = None, undoes_attempt: int = 1, **more: Any) -> dict[str, Any]:
    """This will make a CompensateTask; `output` is what the task had answered."""
    return start_task(**more) | {
        "event_name": COMPENSATE,
        "compensation": True,
        "output": output,
        "undoes_attempt": undoes_attempt,
    }


def cancel_task(message: Mapping[str, Any]) -> dict[str, Any]:
    """This will make the CancelTask that withdraws the message's work."""
    return {**message, "event_name": CANCEL, "message_id": str(uuid.uuid4())}
