"""Steps for worker processes: each writes down, outside of the database, that it has begun.

`GATES` is the folder of the ledger; a step that waits there goes on when the file `open` appears.
"""

import os
import time
from pathlib import Path

from workflows.steps import Done, StepTask, step

_GATES = Path(os.environ.get("GATES", "."))


def _note(word: str, task: StepTask) -> None:
    with (_GATES / "ledger").open("a") as ledger:
        ledger.write(f"{word} {task.business_ref_no} {task.task_name} {os.getpid()}\n")


@step(name="workers.quick")
def quick(task: StepTask) -> Done:
    _note("ran", task)
    return Done()


@step(name="workers.nap")
def nap(task: StepTask) -> Done:
    _note("ran", task)
    time.sleep(0.05)
    return Done()


@step(name="workers.gate")
def gate(task: StepTask) -> Done:
    _note("began", task)
    while not (_GATES / "open").exists():
        time.sleep(0.01)
    _note("ran", task)
    return Done({"opened": True})


@step(name="workers.die")
def die(task: StepTask) -> Done:
    _note("began", task)
    raise KeyboardInterrupt  # what no step should do, and what nobody catches
