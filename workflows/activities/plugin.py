"""A plugin as somebody registers it: every fault at its place, what is left out filled in, the task that it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from workflows.activities.policy_checks import check_policy
from workflows.definitions.checks import Check, bad_value, boolean, choice, list_of, missing, name, text, wrong_type
from workflows.definitions.problems import Problem, below, in_document_order
from workflows.definitions.schema import FailurePolicy, Json, TaskKind
from workflows.definitions.shape import TASK_KEYS, keys_of_task
from workflows.engine.outgoing import CALLED
from workflows.engine.plugins import ExcludedPlugin, ExpectedPlugin, Phase

MAX_NAME = 80
MAX_QUEUE = 200
"""Characters of a queue's name; that of a plugin which is called is made from the names of activity and plugin."""
MAX_NEIGHBOURS = 200
MAX_LABEL = 200
MAX_URL = 2_000
MAX_SECRET = 200
TIMEOUT_SECONDS = 3_600
"""Of a plugin that names no time-out. People are waited for."""
RETRY: Mapping[str, Json] = {"max_attempts": 3, "delay_seconds": 5}
DELIVERIES = ("task_queue", "url", "step", "assigned_to")
"""The ways in which a plugin is reached: a queue, an address that is called, a step of this site, a person."""

_KINDS = {
    "task_queue": TaskKind.SERVICE,
    "url": TaskKind.SERVICE,
    "step": TaskKind.STEP,
    "assigned_to": TaskKind.HUMAN,
}
_LABELS = ("system", "regulation")


class InvalidPlugin(ValueError):
    """The plugin has faults; `problems` are all of them. Correct them and register it again."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_document_order(problems)
        super().__init__("; ".join(f"{one.pointer or '/'}: {one.message}" for one in self.problems))


# --- What it may say ----------------------------------------------------------------------------------------------


def problems_of(said: Json, *, activity: str = "") -> tuple[Problem, ...]:
    """This will give all that is wrong with a plugin as JSON says it, and with the name of its activity."""
    return in_document_order([*_of_activity(activity), *_problems(said), *_own_queue(activity, said)])


def _of_activity(activity: str) -> Iterator[Problem]:
    for problem in name(slash=False)(activity, "") if activity else ():
        yield Problem("", problem.code, f"Of the activity: {problem.message}")


def _own_queue(activity: str, said: Json) -> Iterator[Problem]:
    called = isinstance(said, dict) and said.get("url") is not None and isinstance(said.get("name"), str)
    if called and len(queue_of(activity, said["name"])) > MAX_QUEUE:
        yield bad_value("/name", "This and the name of the activity are too long together for one that is called.")


def queue_of(activity: str, name: str) -> str:
    """This will name the queue in which work waits for a plugin that is called."""
    return f"{CALLED}{activity}/{name}"


def _problems(said: Json) -> Iterator[Problem]:
    if not isinstance(said, dict):
        yield wrong_type(said, "", "a plugin (an object)")
        return
    for key in ("name", "phase"):
        if said.get(key) is None:
            yield missing(key, "")
    for key, value in said.items():
        if key not in _KEYS:
            yield Problem(below("", key), "unknown_key", f"A plugin has no {key}. It has {', '.join(_KEYS)}.")
        elif value is not None:
            yield from _KEYS[key](value, below("", key))
    yield from _delivery(said)
    yield from _policy(said)


def _delivery(said: Mapping[str, Json]) -> Iterator[Problem]:
    ways = [way for way in DELIVERIES if said.get(way) is not None]
    if not ways:
        yield Problem("", "required", f"One of {', '.join(DELIVERIES)} is required: how is the plugin reached?")
    for way in ways[1:]:
        yield bad_value(below("", way), f"A plugin is reached in one way, not by {ways[0]} and {way}.")
    if said.get("secret") and said.get("url") is None:
        yield bad_value("/secret", "Only calls of a url are signed.")


def _policy(said: Mapping[str, Json]) -> Iterator[Problem]:
    if said.get("mandatory") is False and said.get("on_failure") not in (None, FailurePolicy.CONTINUE):
        yield bad_value("/on_failure", "The failure of an optional plugin stops nothing: leave this out.")


def _name(value: Json, pointer: str) -> Iterator[Problem]:
    yield from name(slash=False)(value, pointer)
    if isinstance(value, str) and len(value) > MAX_NAME:
        yield bad_value(pointer, f"The name of a plugin has at most {MAX_NAME} characters.")


def _queue(value: Json, pointer: str) -> Iterator[Problem]:
    yield from TASK_KEYS["task_queue"](value, pointer)
    if isinstance(value, str) and (value.startswith("@") or len(value) > MAX_QUEUE):
        yield bad_value(pointer, f"A queue has at most {MAX_QUEUE} characters; names that begin with @ are ours.")


def _url(value: Json, pointer: str) -> Iterator[Problem]:
    yield from (problems := tuple(text(at_least=1, at_most=MAX_URL)(value, pointer)))
    if not problems and _split(value) is None:
        shape = "such as https://checks.example.com/scan: http or https, a host, no password, no fragment"
        yield bad_value(pointer, f"This is no address that can be called, {shape}.")


def _split(url: str) -> SplitResult | None:
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        return None
    fits = found.scheme in ("http", "https") and found.hostname and port != 0
    return found if fits and "@" not in found.netloc and "#" not in url else None


def host_of(url: str) -> str:
    """This will give the host of an address that was checked, in lower case."""
    return urlsplit(url).hostname or ""


_label = text(at_most=MAX_LABEL, plain=True)
_neighbours = list_of(_name, at_most=MAX_NEIGHBOURS, of="names of plugins")
_KEYS: Mapping[str, Check] = {
    "name": _name,
    "phase": choice(*Phase),
    "before": _neighbours,
    "after": _neighbours,
    "task_queue": _queue,
    "url": _url,
    "step": keys_of_task({"task_type": TaskKind.STEP})["step"],
    "assigned_to": TASK_KEYS["assigned_to"],
    "filter": check_policy,
    "retry": TASK_KEYS["retry"],
    "timeout_seconds": TASK_KEYS["timeout_seconds"],
    "mandatory": boolean,
    "on_failure": TASK_KEYS["on_failure"],
    "system": _label,
    "regulation": _label,
    "title": TASK_KEYS["title"],
    "description": TASK_KEYS["description"],
    "secret": text(at_most=MAX_SECRET),
}


# --- What it then is ----------------------------------------------------------------------------------------------


def filled(said: Mapping[str, Json], *, signed: bool) -> dict[str, Json]:
    """This will give what is kept of a correct plugin: all keys but the secret, defaults filled in."""
    given = {key: value for key, value in said.items() if value is not None and key != "secret"}
    mandatory = given.get("mandatory", True)
    way = delivery_of(given)
    return {
        "name": given["name"],
        "phase": given["phase"],
        "before": list(given.get("before", ())),
        "after": list(given.get("after", ())),
        way: given[way],
        "filter": given.get("filter"),
        "retry": given.get("retry", dict(RETRY)),
        "timeout_seconds": given.get("timeout_seconds", None if way == "assigned_to" else TIMEOUT_SECONDS),
        "mandatory": mandatory,
        "on_failure": given.get("on_failure", str(FailurePolicy.HALT if mandatory else FailurePolicy.CONTINUE)),
        "system": given.get("system", ""),
        "regulation": given.get("regulation", ""),
        "title": given.get("title", ""),
        "description": given.get("description", ""),
        "signed": signed,
    }


def delivery_of(said: Mapping[str, Json]) -> str:
    """This will name the key that says how the plugin is reached."""
    return next(way for way in DELIVERIES if said.get(way) is not None)


def labels_of(said: Mapping[str, Json]) -> dict[str, str]:
    """This will give the labels that it has."""
    return {label: said[label] for label in _LABELS if said.get(label)}


def expected(activity: str, said: Mapping[str, Json]) -> ExpectedPlugin:
    """This will give the plugin as the engine expects it: with the task that it becomes."""
    way = delivery_of(said)
    task: dict[str, Any] = {
        "task_name": said["name"],
        "task_type": str(_KINDS[way]),
        way: said[way],
        "retry": said["retry"],
        "on_failure": said["on_failure"],
    }
    if way == "url":
        task["task_queue"] = queue_of(activity, said["name"])
    for key in ("timeout_seconds", "title", "description"):
        if said[key]:
            task[key] = said[key]
    return ExpectedPlugin(said["name"], said["mandatory"], task, labels_of(said))


def excluded(said: Mapping[str, Json]) -> ExcludedPlugin:
    """This will give the plugin as one that its filter keeps out."""
    return ExcludedPlugin(said["name"], said["mandatory"], labels_of(said))
