"""Reading JSON from strangers: what two readers could understand differently is refused."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from workflows.definitions.problems import below
from workflows.definitions.schema import Json

MAX_BYTES = 1_048_576
MAX_DEPTH = 64
MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1
"""Integers are those of 64 bits: databases, message formats and channel layers carry them all unchanged."""


class InvalidJson(ValueError):
    """The text is not the JSON we take. Send UTF-8 JSON that keeps the limits named in `message`."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def parse(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Json:
    """This will give the value that the bytes say, or raise InvalidJson naming line and column.

    The decoder of the standard library does the work. It lets through a few things that we refuse; cheap searches
    tell whether one of them may be there, and only then the text is walked token by token (and never recursively).
    """
    if len(raw) > max_bytes:
        raise InvalidJson("too_large", f"The message has {len(raw):,} bytes; at most {max_bytes:,} are taken.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line, start = raw.count(b"\n", 0, error.start) + 1, raw.rfind(b"\n", 0, error.start)
        raise _invalid(f"This is not UTF-8: line {line}, byte {error.start - start}.") from None
    if (
        text.count("[") + text.count("{") > max_depth
        or ("\\u" in text and _DOUBTFUL_ESCAPE.search(text))
        or _DOUBTFUL_NUMBER.search(text)
    ):
        _refuse_faults(text, max_depth)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if text.startswith("\ufeff"):
            raise _invalid("The text begins with a byte order mark; send plain UTF-8.") from None
        what = error.msg if text.strip() else "There is nothing here"
        raise _invalid(f"{what}: {_where(text, error.pos)}.") from None
    except (_NotTaken, ValueError) as error:  # ValueError: Python refuses to read thousands of digits
        _refuse_faults(text, max_depth)
        raise _invalid(str(error)) from None


def check_value(value: Json, *, max_depth: int = MAX_DEPTH) -> None:
    """This will raise InvalidJson when a value made in Python could not have come out of `parse`."""
    todo: list[tuple[Json, int, str]] = [(value, 0, "")]
    while todo:
        one, depth, pointer = todo.pop()
        if isinstance(one, str):
            _check_text(one, f"at {pointer or 'the top'}")
        elif one is None or isinstance(one, bool):
            pass
        elif isinstance(one, int):
            if not MIN_INTEGER <= one <= MAX_INTEGER:
                raise _invalid(f"An integer has more than 64 bits: at {pointer or 'the top'}.")
        elif isinstance(one, float):
            if one - one != 0:
                raise _invalid(f"A number is not finite: at {pointer or 'the top'}.")
        elif isinstance(one, (list, dict)):
            if depth == max_depth:
                raise _invalid(f"There are more than {max_depth} levels: at {pointer or 'the top'}.")
            if isinstance(one, list):
                todo += [(entry, depth + 1, f"{pointer}/{index}") for index, entry in enumerate(one)]
            else:
                for key, entry in one.items():
                    if not isinstance(key, str):
                        raise _invalid(f"A key is not a text: at {pointer or 'the top'}.")
                    _check_text(key, f"in a key at {pointer or 'the top'}")
                    todo.append((entry, depth + 1, below(pointer, key)))
        else:
            raise _invalid(f"A {type(one).__name__} is not a JSON value: at {pointer or 'the top'}.")


def canonical(value: Json) -> str:
    """This will write equal values equally: keys sorted, nothing padded, `1.0` as `1`."""
    text = _write(value)
    # Only a float prints these two; in a text they merely cost the second writing.
    return _write(_with_whole_numbers(value)) if ".0" in text or "e+" in text else text


class _NotTaken(Exception):
    """Correct JSON of a kind that we refuse; the walk over the tokens finds where."""


def _only_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _NotTaken("A key stands twice in one object.")
    return value


def _no_constant(name: str) -> NoReturn:
    raise _NotTaken(f"{name} is not a JSON number.")


_DECODER = json.JSONDecoder(object_pairs_hook=_only_once, parse_constant=_no_constant)

# Possessive repeats and the look-behind keep these linear on any text.
_DOUBTFUL_ESCAPE = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_DOUBTFUL_NUMBER = re.compile(r"[0-9](?:[eE]\+?[0-9]{3}|(?<![0-9][0-9])[0-9]{18})[0-9]*+(?:[\s,\]}.eE]|\Z)")
_TOKEN = re.compile(
    r'(?P<text>"(?:[^"\\]++|\\.)*+"?)(?P<colon>[ \t\r\n]*+:)?'
    r"|(?P<bracket>[\[\]{}])|(?P<number>-?[0-9][0-9.eE+-]*+)|(?P<constant>NaN|-?Infinity)",
    re.DOTALL,
)
_LONE_OR_NUL = re.compile(r"[\ud800-\udfff\x00]")


def _refuse_faults(text: str, max_depth: int) -> None:
    keys: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        part, at = token.group(), token.start()
        match token.lastgroup:
            case "bracket" if part in "[{":
                if len(keys) == max_depth:
                    raise _invalid(f"There are more than {max_depth} levels: {_where(text, at)}.")
                keys.append(set())
            case "bracket":
                if keys:
                    keys.pop()
            case "number":
                _check_number(part, _where(text, at) if len(part) > 3 else "")
            case "constant":
                raise _invalid(f"{part} is not a JSON number: {_where(text, at)}.")
            case _:
                _check_string_token(token, keys[-1] if keys else set(), text)


def _check_number(part: str, where: str) -> None:
    if not part.lstrip("-").isdecimal():
        try:
            number = float(part)
        except ValueError:
            return  # the decoder says it better
        if number - number != 0:
            raise _invalid(f"A number is too large: {where}.")
    elif len(part) > 20 or not MIN_INTEGER <= int(part) <= MAX_INTEGER:
        raise _invalid(f"An integer has more than 64 bits: {where}.")


def _check_string_token(token: re.Match[str], keys: set[str], text: str) -> None:
    quoted = token["text"]
    try:
        said = json.loads(quoted) if "\\" in quoted else quoted[1:-1]
    except json.JSONDecodeError:
        return  # the decoder says it better
    if _LONE_OR_NUL.search(said):
        _check_text(said, _where(text, token.start()))
    if token["colon"] is not None:
        if said in keys:
            raise _invalid(f"The key {quoted[:60]} stands twice in one object: {_where(text, token.start())}.")
        keys.add(said)


def _check_text(text: str, where: str) -> None:
    found = _LONE_OR_NUL.search(text)
    if found:
        what = "the character NUL" if found.group() == "\0" else "half of a surrogate pair"
        raise _invalid(f"A text holds {what}: {where}.")


def _where(text: str, position: int) -> str:
    return f"line {text.count(chr(10), 0, position) + 1}, column {position - text.rfind(chr(10), 0, position)}"


def _invalid(message: str) -> InvalidJson:
    return InvalidJson("invalid_json", message)


_write = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode


def _with_whole_numbers(value: Json) -> Json:
    match value:
        case float() if value.is_integer() and MIN_INTEGER <= value <= MAX_INTEGER:
            return int(value)
        case list():
            return [_with_whole_numbers(entry) for entry in value]
        case dict():
            return {key: _with_whole_numbers(entry) for key, entry in value.items()}
        case _:
            return value
