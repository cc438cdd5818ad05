"""When two templates are the same."""

from __future__ import annotations

import hashlib

from workflows.definitions.schema import Json
from workflows.definitions.strict_json import canonical


def fingerprint(value: Json) -> str:
    """This will give the same 64 hexadecimal digits for equal content, however it was written."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
