"""The verdict: reads what a run has left behind, and lists what must never be (S1-S22, L1-L5).

Reads only the database (read-only), the operation logs, the ledger and what it is told of the broker. As a program:

    python -m tests.faults.checker DATABASE_URL [--log FILE …] [--ledger FILE] [--printed FILE …] [--running]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults import facts, inside, liveness, outside, records
from tests.faults.evidence import Depth, Evidence, Sample, Violation

__all__ = ["INVARIANTS", "LIVENESS", "SAFETY", "Depth", "Evidence", "Sample", "Violation", "anchor", "check", "gather"]

Check = Callable[[Evidence], Iterator[Violation]]

SAFETY: Mapping[str, Check] = {
    "S1": outside.s1,
    "S2": outside.s2,
    "S3": outside.s3,
    "S4": outside.s4,
    "S5": inside.s5,
    "S6": inside.s6,
    "S7": inside.s7,
    "S8": inside.s8,
    "S9": inside.s9,
    "S10": inside.s10,
    "S11": inside.s11,
    "S12": outside.s12,
    "S13": outside.s13,
    "S14": inside.s14,
    "S15": inside.s15,
    "S16": inside.s16,
    "S17": inside.s17,
    "S18": inside.s18,
    "S19": outside.s19,
    "S20": outside.s20,
    "S21": inside.s21,
    "S22": outside.s22,
}
LIVENESS: Mapping[str, Check] = {
    "L1": liveness.l1,
    "L2": liveness.l2,
    "L3": liveness.l3,
    "L4": liveness.l4,
    "L5": liveness.l5,
}
INVARIANTS: Mapping[str, Check] = {**SAFETY, **LIVENESS}
anchor = facts.anchor


def check(evidence: Evidence) -> list[Violation]:
    """Judge the evidence. Liveness is asked only where it is calm."""
    asked = INVARIANTS if evidence.calm else SAFETY
    return [violation for one in asked.values() for violation in one(evidence)]


def gather(
    database_url: str,
    *,
    logs: Sequence[Path] = (),
    ledger: Path | None = None,
    printed: Sequence[Path] = (),
    ask_the_product: bool = True,
    **more: Any,
) -> Evidence:
    """Read the evidence of a run. `ask_the_product`: have `manage.py check_history` fold it as well; `more` as in
    Evidence.
    """
    evidence = Evidence(
        facts=facts.read(database_url),
        operations=records.read_operations(*logs) if logs else None,
        effects=records.read_effects(ledger) if ledger else None,
        deliveries=records.read_deliveries(ledger) if ledger else None,
        logs=printed,
        **more,
    )
    if ask_the_product:
        evidence.disagreements = {"check_history": disagreements(database_url)}
    return evidence


def disagreements(database_url: str) -> list[str]:
    """Give what the product's own check finds: the fold of the product against its rows."""
    from tests.tree import ROOT

    done = subprocess.run(
        [sys.executable, "manage.py", "check_history"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        | {"DATABASE_URL": database_url, "SECRET_KEY": "only-to-ask-for-the-history"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    return [] if done.returncode == 0 else [*done.stdout.splitlines(), *done.stderr.splitlines()[-1:]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check from the command line; the exit code is 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database_url")
    parser.add_argument("--log", type=Path, action="append", default=[])
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--printed", type=Path, action="append", default=[])
    parser.add_argument("--expected", action="append", default=[])
    parser.add_argument("--running", action="store_true", help="the faults are not over: liveness is not asked for")
    given = parser.parse_args(arguments)
    evidence = gather(
        given.database_url,
        logs=given.log,
        ledger=given.ledger,
        printed=given.printed,
        expected=given.expected,
        calm=not given.running,
    )
    violations = check(evidence)
    for violation in violations:
        print(violation)
    events = sum(len(one.events) for one in evidence.facts.instances.values())
    print(f"{len(evidence.facts.instances)} instances, {events} events: {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
