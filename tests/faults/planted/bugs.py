from typing import Any

BUGS: dict[str, Any] = {}
