"""Judges what a run has left, and writes it down: the evidence where something is wrong, the manifest always."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sqlite3
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.faults import checker, records
from tests.faults.evidence import Violation
from tests.faults.system import MARKER, Ground
from tests.faults.trial import DRAINED_WITHIN, Trial
from tests.faults.watchers import read_frames
from tests.tree import ROOT

# The last lines of tracebacks that the faults explain: a database, a broker, a Redis that went away, or took too long.
_SQLITE = (r"database or disk is full",)
_POSTGRESQL = (
    r"^(psycopg\.|django\.db\.utils\.|psycopg_pool\.)?\w*(OperationalError|InterfaceError|AdminShutdown|CrashShutdown|"
    r"CannotConnectNow|PoolTimeout|PoolClosed|LockNotAvailable|QueryCanceled|IdleInTransactionSessionTimeout|"
    r"DeadlockDetected)\b",
    r"^psycopg\.errors\.(AdminShutdown|CrashShutdown|CannotConnectNow|LockNotAvailable|QueryCanceled|DeadlockDetected|"
    r"IdleInTransactionSessionTimeout|ProtocolViolation)\b",
    r"server closed the connection|connection (is closed|was closed|failed|reset)|the connection is (lost|closed)",
)
_BROKER = (
    r"^(ConnectionResetError|ConnectionRefusedError|BrokenPipeError|TimeoutError|OSError)\b",
    r"BusDown",
    r"^redis\.exceptions\.(ConnectionError|TimeoutError|BusyLoadingError)\b",
    r"^(amqp\.exceptions|kombu\.exceptions)\.\w+",
)
# What Django says when a client goes away in the moment in which it is answered: our lines break all the time.
_GONE = r"^django\.core\.exceptions\.RequestAborted$"
_INJECTED = r"^workflows\.failpoints\.Injected"
EXPECTED: Mapping[str, Sequence[str]] = {
    "sqlite": (_INJECTED, _GONE, *_SQLITE),
    "pg": (_INJECTED, _GONE, *_POSTGRESQL),
    "full": (_INJECTED, _GONE, *_POSTGRESQL, *_BROKER),
}


@dataclass
class Verdict:
    """What is said about a seed."""

    seed: int
    violations: list[Violation]
    record: dict[str, Any]
    folder: Path
    by_invariant: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.by_invariant = Counter(violation.invariant for violation in self.violations)

    @property
    def good(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.violations


def _deleted(trial: Trial) -> dict[str, list[tuple[float, float]]]:
    """When which queue was being deleted: it takes up to five seconds until its consumer holds nothing."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in (trial.folder / "faults.jsonl").read_text().splitlines():
        fault = json.loads(line) if line else {}
        if fault.get("kind") == "delete_queue" and "begin" in fault:
            found[f"{trial.system.prefix}{fault['target']}"].append(
                (fault["begin"], fault["begin"] + 6 + fault["seconds"])
            )
    return found


def judge(trial: Trial, *, profile: str) -> Verdict:
    """Have everything checked, while the system is still up and calm."""
    ledger = trial.folder / "ledger.sqlite3"
    evidence = checker.gather(
        trial.system.database_url,
        logs=sorted(trial.folder.glob("operations-*.jsonl")),
        ledger=ledger,
        printed=trial.system.logs,
        anchors=trial.anchors,
        secrets=[MARKER],
        expected=EXPECTED[profile],
        counts=trial.counts_shown,
        depths=trial.depths,
        samples=trial.samples,
        deleted=_deleted(trial),
    )
    ends = {key: int(one.row.last_sequence) for key, one in evidence.facts.instances.items()}
    evidence.frames = read_frames(trial.folder / "frames.jsonl", ends)
    violations = checker.check(evidence)
    if not trial.drained:
        texts = trial.left_over[:20]
        violations.append(Violation("L1", f"after {DRAINED_WITHIN:.0f} s", f"not drained: {'; '.join(texts)}"))
    for program in trial.system.programs.values():
        for end in program.exits:
            if not end.asked:
                violations.append(Violation("L1", program.name, f"ended by itself with code {end.code}"))
    operations = Counter(f"{one.kind} {one.outcome}" for one in evidence.operations or ())
    record = {
        "seed": trial.seed,
        "instances": len(evidence.facts.instances),
        "states": dict(sorted(trial.counts.items())),
        "events": sum(len(one.events) for one in evidence.facts.instances.values()),
        "faults": len(trial.schedule),
        "faults_by_kind": dict(sorted(Counter(fault.kind for fault in trial.schedule).items())),
        "schedule_sha256": _digest([fault.record() for fault in trial.schedule]),
        "exits": sum(len(program.exits) for program in trial.system.programs.values()),
        "operations": dict(sorted(operations.items())),
        "effects": len(evidence.effects or ()),
        "deliveries": len(evidence.deliveries or ()),
        "frames": len(evidence.frames),
        "quarantined": len(evidence.facts.quarantine),
        "drained": trial.drained,
        "seconds": {name: round(value, 1) for name, value in trial.timings.items()},
        "violations": len(violations),
        "violations_by_invariant": dict(sorted(Counter(one.invariant for one in violations).items())),
    }
    return Verdict(trial.seed, violations, record, trial.folder)


def keep(trial: Trial, verdict: Verdict, *, repeat: str) -> None:
    """Keep the evidence of a bad run: the database, and what is wrong in words."""
    trial.system.keep_database()
    trial.system.keep_server_logs()
    lines = [f"Run again: {repeat}", *map(str, verdict.violations)]
    (verdict.folder / "violations.txt").write_text("\n".join(lines) + "\n")


def manifest(*, ground: Ground, command: str, verdicts: Sequence[Verdict], seconds: float) -> dict[str, Any]:
    """Make the report of a command: what was run, on what, and what came of it."""
    violations = Counter[str]()
    for verdict in verdicts:
        violations.update(verdict.by_invariant)
    return {
        "command": command,
        "profile": ground.profile,
        "revision": _revision(),
        "versions": _versions(ground),
        "invariants": sorted(checker.INVARIANTS, key=lambda name: (name[0] != "S", int(name[1:]))),
        "totals": {
            "seeds": len(verdicts),
            "instances": sum(verdict.record["instances"] for verdict in verdicts),
            "events": sum(verdict.record["events"] for verdict in verdicts),
            "faults": sum(verdict.record["faults"] for verdict in verdicts),
            "effects": sum(verdict.record["effects"] for verdict in verdicts),
            "violations": sum(violations.values()),
            "seconds": round(seconds),
        },
        "violations_by_invariant": dict(sorted(violations.items())),
        "verdict": "good" if not violations else "bad",
        "runs": [verdict.record for verdict in verdicts],
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _revision() -> str:
    def git(*arguments: str) -> str:
        said = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return said.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "HEAD") or "unknown") + changed


def _versions(ground: Ground) -> dict[str, str]:
    packages = ("django", "django-fsm-2", "channels", "channels_redis", "daphne", "psycopg", "amqp", "kombu", "redis")
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in packages:
        try:
            # The server is called so as well.
            found["redis-py" if name == "redis" else name] = version(name)
        except ModuleNotFoundError:
            continue
    asked: dict[str, Callable[[], str]] = {
        "sqlite": lambda: sqlite3.sqlite_version,
        **{name: server.version for name, server in ground.servers.items()},
    }
    for name, ask in asked.items():
        found[name] = re.sub(r"\s.*", "", ask())
    return found


__all__ = ["EXPECTED", "Verdict", "judge", "keep", "manifest", "records"]
