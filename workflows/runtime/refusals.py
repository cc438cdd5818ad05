"""Every problem code with its HTTP status: the one table that the API, the pages and the bus share."""

from __future__ import annotations

STATUS: dict[str, int] = {
    "invalid_json": 400,
    "invalid_body": 400,
    "invalid_template": 400,
    "invalid_parameter": 400,
    "unknown_event_name": 400,
    "ambiguous_workflow": 400,
    "not_authenticated": 401,
    "permission_denied": 403,
    "four_eyes": 403,
    "not_found": 404,
    "unknown_template": 404,
    "unknown_instance": 404,
    "unknown_task": 404,
    "unknown_subscription": 404,
    "method_not_allowed": 405,
    "duplicate_instance": 409,
    "event_id_reused": 409,
    "stale_attempt": 409,
    "unknown_attempt": 409,
    "not_its_turn": 409,
    "attempt_closed": 409,
    "instance_closed": 409,
    "instance_suspended": 409,
    "wrong_state": 409,
    "already_claimed": 409,
    "not_claimed": 409,
    "already_registered": 409,
    "lease_lost": 409,
    "subscription_held": 409,
    "subscription_status": 409,
    "subscription_in_use": 409,
    "wrong_product": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "idempotency_key_reused": 422,
    "engine_paused": 503,
}


def is_recorded(code: str) -> bool:
    """This will tell whether a refusal with this code belongs into the history: all that the state refuses do."""
    return STATUS[code] == 409
