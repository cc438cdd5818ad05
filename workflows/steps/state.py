"""The state that steps see and change: JSON, of bounded size, and never shared with anybody."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from workflows.conf import settings
from workflows.definitions.problems import below


class BadState(Exception):
    """What a step answered cannot be kept. `code` says why, `pointer` where."""

    def __init__(self, code: str, pointer: str, message: str) -> None:
        super().__init__(message)
        self.code, self.pointer = code, pointer


def copy_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """This will give a state that whoever gets it may change without changing anybody else's."""
    return {key: copied(value) for key, value in state.items()}


def copied(value: Any) -> Any:
    """This will give the same of a part of a state."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner) for inner in value]
    return value


def kept(value: Any, *, what: str = "output") -> Any:
    """This will give what a step answered as it is kept: plain JSON.

    Raises BadState where a value is none (with its JSON pointer), or where there is more than STEP_OUTPUT_BYTES.
    """
    plain = _plain(value, "")
    size = len(json.dumps(plain, ensure_ascii=False).encode())
    if size > settings.STEP_OUTPUT_BYTES:
        raise BadState(
            f"{what}_too_large",
            "",
            f"The step's {what} has {size:,} bytes; {settings.STEP_OUTPUT_BYTES:,} are allowed (STEP_OUTPUT_BYTES)."
            " Keep large things where they belong, and their keys in the state.",
        )
    return plain


def readable(said: object, *, most: int = 2000) -> str:
    """This will give a text that can be kept, whatever an exception or a step says."""
    text = str(said)[:most].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode()


def _plain(value: Any, pointer: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, pointer)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        raise BadState("not_json", pointer, f"{pointer or 'The output'}: {value} is no number in JSON.")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise BadState("not_json", pointer, f"{pointer or 'The output'}: the key {key!r:.80} is no text.")
        return {_text(key, pointer): _plain(inner, below(pointer, key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, below(pointer, index)) for index, inner in enumerate(value)]
    raise BadState(
        "not_json",
        pointer,
        f"{pointer or 'The output'}: a {type(value).__name__} cannot be kept; answer text or numbers.",
    )


def _text(value: str, pointer: str) -> str:
    try:
        plain = str(value)
        plain.encode()
    except UnicodeEncodeError:
        raise BadState(
            "not_json", pointer, f"{pointer or 'The output'}: half of a surrogate pair is no text."
        ) from None
    if "\x00" in plain:
        raise BadState("not_json", pointer, f"{pointer or 'The output'}: a text may not hold the character NUL.")
    return plain
