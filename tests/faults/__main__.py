"""`./run faults`: run one seed or several against real processes, and judge each.

    ./run faults --profile sqlite|pg|full [--seed S | --seeds 1..20] [--instances N] [--faults F] [--minutes M]

    ./run faults sweep | duels | planted | check [--help]     the parts without luck: see docs/faults.md

The same seed gives the same load and the same faults at the same moments. A profile whose servers are missing on this
machine is refused. The exit code is 0 when nothing is wrong, 1 when an invariant is broken, 2 when the harness is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from orchestrator_site.local_servers import ServerMissing
from tests.faults import trial, verdict
from tests.faults.cast import HarnessBroken
from tests.faults.system import PROFILES, Ground
from tests.tree import ROOT

_OTHERS = {
    "sweep": "tests.faults.sweep",
    "duels": "tests.faults.duels",
    "planted": "tests.faults.planted",
    "check": "tests.faults.checker",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in _OTHERS:
        os.execv(sys.executable, [sys.executable, "-W", "ignore", "-m", _OTHERS[words[0]], *words[1:]])  # noqa: S606
    asked = _read(arguments)
    seeds = list(asked.seeds or [asked.seed])
    seconds = asked.minutes * 60 if asked.minutes else max(15.0, asked.instances / 9, asked.faults * 1.1)
    out: Path = asked.out.absolute()
    begun, verdicts = time.monotonic(), []
    work = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        ground = Ground(asked.profile, work)
    except ServerMissing as missing:
        print(f"The profile {asked.profile} is refused: {missing}", file=sys.stderr)
        return 2
    try:
        for seed in seeds:
            one = run_seed(
                ground, seed=seed, instances=asked.instances, faults=asked.faults, seconds=seconds, out=out,
                minutes=asked.minutes,
            )  # fmt: skip
            verdicts.append(one)
            if asked.stop and not one.good:
                break
    except (HarnessBroken, AssertionError, ServerMissing) as error:
        print(f"The harness is broken, nothing is said about the system: {error}", file=sys.stderr)
        if error.__cause__ is not None:
            print(f"  because of {error.__cause__!r}", file=sys.stderr)
        return 2
    finally:
        if verdicts:
            command = _command(asked, f"--seeds {seeds[0]}..{seeds[-1]}" if len(seeds) > 1 else f"--seed {seeds[0]}")
            report = verdict.manifest(
                ground=ground, command=command, verdicts=verdicts, seconds=time.monotonic() - begun
            )
            out.mkdir(parents=True, exist_ok=True)
            manifest = asked.manifest or out / f"manifest-{asked.profile}.json"
            manifest.write_text(json.dumps(report, indent=1, sort_keys=False) + "\n")
            print(f"{report['totals']}\n{report['verdict']}; the manifest is {_short(manifest)}")
        ground.close()
        shutil.rmtree(work, ignore_errors=True)
    return 0 if all(one.good for one in verdicts) else 1


def run_seed(
    ground: Ground, *, seed: int, instances: int, faults: int, seconds: float, out: Path, minutes: float | None = None
) -> verdict.Verdict:
    """Run and judge one seed; what it leaves is kept where something is wrong."""
    folder = out / f"{ground.profile}-seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    with trial.run(
        ground, seed=seed, instances=instances, faults=faults, seconds=seconds, folder=folder, say=_say
    ) as done:
        done.timings["run"] = time.monotonic() - begun
        judged = verdict.judge(done, profile=ground.profile)
        done.timings["check"] = time.monotonic() - begun - done.timings["run"]
        again = f"--seed {seed}"
        asked = argparse.Namespace(profile=ground.profile, instances=instances, faults=faults, minutes=minutes)
        if not judged.good:
            verdict.keep(done, judged, repeat=_command(asked, again))
    done.system.drop()
    if judged.good:
        shutil.rmtree(folder, ignore_errors=True)
        _say(f"  good: {judged.record['states']} in {time.monotonic() - begun:.0f} s")
    else:
        _tell(judged, _command(asked, again))
    return judged


def _tell(judged: verdict.Verdict, again: str) -> None:
    _say(f"  BAD: {dict(judged.by_invariant)}")
    shown: Counter[str] = Counter()
    for violation in judged.violations:
        shown[violation.invariant] += 1
        if shown[violation.invariant] <= 3:
            _say(f"    {str(violation)[:300]}")
    _say(f"  the evidence is in {_short(judged.folder)}; run it again: {again}")


def _command(asked: argparse.Namespace, seeds: str) -> str:
    minutes = f" --minutes {asked.minutes:g}" if asked.minutes else ""
    return (
        f"./run faults --profile {asked.profile} {seeds} --instances {asked.instances} --faults {asked.faults}{minutes}"
    )


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run faults", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--profile", choices=PROFILES, default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=_seeds, help="several, as 1..20")
    parser.add_argument("--instances", type=int, default=500, help="how many are started (default: 500)")
    parser.add_argument("--faults", type=int, default=50, help="how many are injected (default: 50)")
    parser.add_argument("--minutes", type=float, help="how long load and faults go on (default: by their numbers)")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "faults", help="where evidence is kept")
    parser.add_argument("--manifest", type=Path, help="where the manifest goes (default: beside the evidence)")
    parser.add_argument("--stop", action="store_true", help="stop at the first seed that is bad")
    return parser.parse_args(arguments)


def _seeds(text: str) -> range:
    first, dots, last = text.partition("..")
    try:
        return range(int(first), int(last if dots else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1..20") from None


def _short(path: Path) -> str:
    return os.path.relpath(path)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
