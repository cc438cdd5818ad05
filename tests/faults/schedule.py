"""Which fault strikes what, when, and for how long: drawn from the seed, the same for the same seed always."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workflows import failpoints


@dataclass(frozen=True)
class Fault:
    """One fault: `at` seconds from the beginning something strikes the target, for so many seconds."""

    at: float
    kind: str
    target: str
    seconds: float
    value: float = 0.0
    way: str = ""

    def __str__(self) -> str:
        more = f" {self.way}" if self.way else ""
        more += f" ({self.value:g})" if self.value else ""
        return f"{self.at:6.2f} s  {self.kind} {self.target}{more} for {self.seconds:.1f} s"

    def record(self) -> dict[str, Any]:
        """Give it for the manifest."""
        return {key: value for key, value in asdict(self).items() if value not in ("", 0.0) or key == "at"}


@dataclass(frozen=True)
class Targets:
    """What a profile has that can be hurt."""

    programs: Sequence[str]
    """Processes of the site."""
    web_lines: Sequence[str]
    """Proxies in front of web processes."""
    lines: Sequence[str]
    """Proxies in front of servers, one for each client."""
    servers: Sequence[str] = ()
    sqlite: bool = False
    queues: Sequence[str] = ()


# kind: (weight, seconds from, seconds to)
_OF_PROGRAMS: Mapping[str, tuple[int, float, float]] = {
    "kill": (10, 0.1, 2.0), "term": (4, 0.1, 1.5), "pause": (7, 1.0, 8.0), "clock": (3, 3.0, 8.0),
    "failpoint": (12, 1.0, 4.0),
}  # fmt: skip
# Where the code itself is made to fail; all but those that end a process harmlessly anyway.
_POINTS = sorted(set(failpoints.POINTS) - {"shutdown", "step_begin", "step_end"})
_OF_LINES: Mapping[str, tuple[int, float, float]] = {
    "cut": (6, 0.0, 0.0), "refuse": (3, 0.5, 4.0), "hold": (5, 1.0, 7.0), "delay": (5, 1.0, 6.0),
    "drop_reply": (6, 0.3, 2.0), "trickle": (3, 1.0, 4.0), "reset_after": (5, 0.5, 3.0),
}  # fmt: skip
_OF_SERVERS: Mapping[str, Mapping[str, tuple[int, float, float]]] = {
    "postgresql": {"crash": (3, 0.2, 2.0), "restart": (2, 0.1, 1.0), "backend": (3, 0.0, 0.0)},
    "rabbitmq": {"crash": (2, 0.5, 3.0), "restart": (1, 0.1, 1.0)},
    "redis": {"crash": (1, 0.2, 3.0), "flush": (1, 0.0, 0.0)},
}
_WEIGHT = {"programs": 10, "web_lines": 7, "lines": 12, "servers": 4, "sqlite": 1, "queues": 1}
_SLOW_SERVERS = {"rabbitmq": 2, "postgresql": 5, "redis": 4}
"""So often at most in one run: each costs seconds in which nothing is tried."""

_SETTLING = 3.0
"""RabbitMQ 3.10 killed within a second of the declaration of a replicated queue may never find a leader for it again:
such a queue takes nothing and confirms nothing until somebody deletes it. No client can help that."""


def draw(*, seed: int, faults: int, seconds: float, targets: Targets) -> list[Fault]:
    """Draw the schedule of a seed. Nothing is struck again before it has recovered."""
    rng = random.Random(f"faults/{seed}")
    busy: dict[str, float] = {"rabbitmq": _SETTLING}
    often: dict[str, int] = {}
    moments = sorted(rng.uniform(0.5, seconds) for _ in range(faults))
    found = []
    for at in moments:
        for _ in range(200):
            fault = _one(rng, round(at, 2), targets)
            if fault is None or busy.get(fault.target, -1.0) > at:
                continue
            if fault.kind == "delete_queue" and busy.get("rabbitmq", 0.0) > at:
                continue
            if fault.target in _SLOW_SERVERS and often.get(fault.target, 0) >= _SLOW_SERVERS[fault.target]:
                continue
            often[fault.target] = often.get(fault.target, 0) + 1
            busy[fault.target] = at + fault.seconds + (2.5 if fault.kind in ("kill", "term", "crash", "restart") else 0)
            if fault.kind == "delete_queue":
                busy["rabbitmq"] = max(busy.get("rabbitmq", 0.0), at + fault.seconds + _SETTLING)
            found.append(fault)
            break
        else:
            # Everything is down: a cut line is always possible.
            found.append(Fault(round(at, 2), "cut", rng.choice(targets.web_lines), 0.0))
    return found


def _one(rng: random.Random, at: float, targets: Targets) -> Fault | None:
    groups = {
        "programs": targets.programs,
        "web_lines": targets.web_lines,
        "lines": targets.lines,
        "servers": targets.servers,
        "sqlite": ["disk"] if targets.sqlite else [],
        "queues": targets.queues,
    }
    there = [name for name, found in groups.items() if found]
    group = rng.choices(there, weights=[_WEIGHT[name] for name in there])[0]
    target = rng.choice(groups[group])
    match group:
        case "programs":
            return _drawn(rng, at, target, _OF_PROGRAMS)
        case "web_lines" | "lines":
            return _drawn(rng, at, target, _OF_LINES)
        case "servers":
            return _drawn(rng, at, target, _OF_SERVERS[target])
        case "sqlite":
            return Fault(at, "disk_full", target, round(rng.uniform(1, 4), 2))
    return Fault(at, "delete_queue", target, round(rng.uniform(0.5, 3), 2))


def _drawn(rng: random.Random, at: float, target: str, kinds: Mapping[str, tuple[int, float, float]]) -> Fault:
    kind = rng.choices(list(kinds), weights=[weight for weight, *_ in kinds.values()])[0]
    _, least, most = kinds[kind]
    value, way = 0.0, ""
    match kind:
        case "failpoint":
            action = rng.choice(["kill", "kill", "kill", "raise", "raise", "sleep(1.5)"])
            way = f"{rng.choice(_POINTS)}=nth({rng.choice([1, 1, 2, 3, 7])}, {action})"
        case "clock":
            # What a process writes down while its clock is wrong falls due that much later, so not hours.
            value = rng.choice([20.0, -20.0, 5.0, -5.0, 1.0, -1.0])
        case "delay":
            value, way = round(rng.choice([0.01, 0.05, 0.2, 0.5, 2.0]), 3), rng.choice(["up", "down", "both"])
        case "hold":
            way = rng.choice(["up", "down", "both"])
        case "trickle":
            value, way = rng.choice([0.05, 0.2, 1.0]), rng.choice(["up", "down"])
        case "reset_after":
            value, way = float(rng.choice([0, 1, 40, 300, 2000])), rng.choice(["up", "down"])
    return Fault(at, kind, target, round(rng.uniform(least, most), 2), value, way)
