"""Steps: small pieces of work that run inside the orchestrator, in the transaction that records them."""

from workflows.steps.callback import callbackstep
from workflows.steps.chain import Chain, begin, conditional, focus, group, inputstep
from workflows.steps.flows import PythonWorkflow, Target, discover, workflow
from workflows.steps.observers import Seen, TurnRound, guard, listener
from workflows.steps.step import Done, Failed, Retry, Skipped, Step, StepTask, Waiting, retrystep, step

__all__ = [
    "Chain",
    "Done",
    "Failed",
    "PythonWorkflow",
    "Retry",
    "Seen",
    "Skipped",
    "Step",
    "StepTask",
    "Target",
    "TurnRound",
    "Waiting",
    "begin",
    "callbackstep",
    "conditional",
    "discover",
    "focus",
    "group",
    "guard",
    "inputstep",
    "listener",
    "retrystep",
    "step",
    "workflow",
]
